"""The loader: the same pictures for any number of workers and processes, errors in one sentence."""

import dataclasses
import errno
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from picture_folders import AUGMENT, write_folder

from progcycle.data import Batch, LoaderError, PictureSet, build_loader, loader
from progcycle.errors import UserError
from progcycle.recipe import Schedule
from progcycle.schedule import GrowthSchedule

OPTIONS = {"load_resolution": 36, "mirror": True, "augment": AUGMENT}
CROPS = {"native": {"load_resolution": "native"}, "random_crop": {"fit": "random_crop"}}


def schedule(batch: int = 4, **changes):
    content = {"stable_kimg": 0.012, "fade_kimg": 0.008, "batch_size": {"default": batch, 32: 2 * batch}, **changes}
    return GrowthSchedule(Schedule.model_validate(content), 8, 32)


def load(sets, plan=None, *, rank=0, processes=1, start_nimg=0, workers=0):
    options = {"rank": rank, "processes": processes, "start_nimg": start_nimg, "workers": workers}
    return build_loader(sets, plan or schedule(), pin_memory=False, **options)


@pytest.fixture
def sets(tmp_path, make_set):
    counts = {"a": 5, "b": 8}
    folders = {domain: write_folder(tmp_path / domain, count, 50 * count) for domain, count in counts.items()}
    return {domain: make_set(folder, domain, **OPTIONS) for domain, folder in folders.items()}


def test_one_item_a_step_with_the_right_shapes(sets):
    plan = schedule()
    items = list(load(sets, plan))
    assert [(nimg, growth) for nimg, growth, _ in items] == list(plan.steps())
    for nimg, growth, batches in items:
        assert list(batches) == ["a", "b"]
        for domain, batch in batches.items():
            size = growth.resolution
            assert batch.images.shape == (growth.batch_size, 3, size, size)
            assert batch.images.dtype == torch.uint8
            assert batch.positions == tuple(range(nimg, nimg + growth.batch_size))
            assert batch.names == tuple(sets[domain].names[sets[domain].index_at(p)] for p in batch.positions)


def same(one, two):
    assert len(one) == len(two) > 0
    for (nimg_1, growth_1, batches_1), (nimg_2, growth_2, batches_2) in zip(one, two, strict=True):
        assert (nimg_1, growth_1) == (nimg_2, growth_2)
        for domain in batches_1:
            assert batches_1[domain].names == batches_2[domain].names
            assert batches_1[domain].positions == batches_2[domain].positions
            assert torch.equal(batches_1[domain].images, batches_2[domain].images)


@pytest.mark.parametrize("kind", ["files", "cached", "native", "random_crop"])
def test_workers_change_nothing(tmp_path, make_set, kind):
    folder = write_folder(tmp_path / "a", 5)
    options = {**OPTIONS, **CROPS.get(kind, {})}
    pictures = make_set(folder, "a", cache_dir=tmp_path / "cache" if kind == "cached" else None, **options)
    pictures.prepare([8, 16, 32])
    same(list(load({"a": pictures})), list(load({"a": pictures}, workers=2)))


def test_workers_share_no_zip_handle(tmp_path, make_set):
    import zipfile

    folder = write_folder(tmp_path / "a", 5)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, path.relative_to(folder))
    pictures = make_set(tmp_path / "a.zip", "a")
    pictures.training(0, 32)  # opens the zip in this process
    same(list(load({"a": pictures})), list(load({"a": pictures}, workers=2)))


def test_resuming_goes_on_where_it_stopped(sets):
    everything = list(load(sets))
    nimg = everything[5][0]
    same(everything[5:], list(load(sets, start_nimg=nimg)))
    assert list(load(sets, start_nimg=schedule().total)) == []


@hypothesis_settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(processes=st.sampled_from([1, 2, 3, 4, 6]), multiple=st.integers(1, 2), start=st.integers(0, 5))
def test_the_ranks_together_are_one_process(small, processes, multiple, start):
    plan = schedule(12 * multiple)
    single = list(load(small, plan, start_nimg=start))
    ranks = [list(load(small, plan, rank=r, processes=processes, start_nimg=start)) for r in range(processes)]
    for step, (nimg, growth, batches) in enumerate(single):
        images = torch.empty_like(batches["a"].images)
        for rank in range(processes):
            their_nimg, their_growth, theirs = ranks[rank][step]
            assert (their_nimg, their_growth) == (nimg, growth)
            assert len(theirs["a"]) == growth.batch_size // processes
            images[rank::processes] = theirs["a"].images
        assert torch.equal(images, batches["a"].images)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    from progcycle.data import PictureSet
    from progcycle.recipe import Pictures

    folder = write_folder(tmp_path_factory.mktemp("small"), 7, width=32, height=32)
    return {"a": PictureSet("a", Pictures(mirror=True), [str(folder)], resolution=32, seed=1)}


def test_domains_are_independent(sets, make_set, tmp_path):
    both, alone = list(load(sets)), list(load({"b": sets["b"]}))
    for (_, _, one), (_, _, two) in zip(both, alone, strict=True):
        assert torch.equal(one["b"].images, two["b"].images)
    twin = {domain: make_set(tmp_path / "a", domain, **OPTIONS) for domain in ("a", "b")}  # same pictures, same seed
    _, _, batches = next(load(twin))
    assert batches["a"].names != batches["b"].names or not torch.equal(batches["a"].images, batches["b"].images)


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_pictures_are_named_once(tmp_path, make_set, workers):
    folder = write_folder(tmp_path / "a", 7)
    (folder / "02.png").write_bytes(b"")
    (folder / "04.png").write_bytes((folder / "04.png").read_bytes()[:-200])
    items = list(load({"a": make_set(folder, "a")}, workers=workers))
    named = [sentence for _, _, batches in items for sentence in batches["a"].broken]
    assert sorted(sentence.split(":")[0] for sentence in named) == ["02.png", "04.png"]


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_come_as_one_sentence_and_stop_the_workers(tmp_path, make_set, workers):
    folder = write_folder(tmp_path / "a", 7)
    for name in ("00.png", "02.png", "04.png"):
        (folder / name).write_bytes(b"")
    with pytest.raises(UserError, match="of 7 pictures are broken") as caught:
        list(load({"a": make_set(folder, "a", max_broken=0.3)}, workers=workers))
    assert "\n" not in str(caught.value)
    assert not multiprocessing.active_children()


def test_closing_stops_the_workers(sets):
    loader = load(sets, workers=2)
    next(loader)
    assert len(multiprocessing.active_children()) == 2
    loader.close()
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs CUDA")
@pytest.mark.parametrize("workers", [0, 2])
def test_pinned_batches(sets, workers):
    loader = build_loader(sets, schedule(), rank=0, processes=1, start_nimg=0, workers=workers, pin_memory=True)
    _, _, batches = next(loader)
    assert all(batch.images.is_pinned() for batch in batches.values())
    reference = next(load(sets))[2]
    assert np.array_equal(batches["a"].images.cuda().cpu(), reference["a"].images)
    loader.close()


def test_batches_that_shared_memory_cannot_take_go_another_way_and_it_is_told(sets, monkeypatch):
    def full(_):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2>: No space left on device (28)")

    expected = list(load(sets))
    monkeypatch.setattr(torch.Tensor, "share_memory_", full)  # workers are forked, and have it too
    reported = []
    options = {"rank": 0, "processes": 1, "start_nimg": 0, "pin_memory": False}
    same(expected, list(build_loader(sets, schedule(), workers=2, report=reported.append, **options)))
    (sentence,) = reported
    assert all(word in sentence for word in ("/dev/shm", "--shm-size", "data.workers=2", "data.workers=0"))
    assert "\n" not in sentence


def test_labels_go_that_way_too():
    batch = Batch(torch.ones(2, 1, 4, 4, dtype=torch.uint8), (0, 1), ("x", "y"), labels=torch.tensor([3, 5]))
    arrays = {"real": (batch.images.numpy(), batch.labels.numpy())}
    back = loader._PlainBatches({"real": dataclasses.replace(batch, images=torch.empty(0), labels=None)}, arrays).read()
    assert torch.equal(back["real"].images, batch.images)
    assert back["real"].labels.tolist() == [3, 5]
    assert back["real"].names == ("x", "y")


def test_a_wait_can_be_ended(sets, monkeypatch):
    """A worker that stands still, as on a lost mount: what ``waiting`` raises ends the wait, and the workers go."""
    monkeypatch.setattr(loader, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(PictureSet, "training", lambda *_: time.sleep(1000))
    seconds = []

    class EnoughError(Exception):
        pass

    def waiting(so_far):
        seconds.append(so_far)
        if len(seconds) == 3:
            raise EnoughError

    options = {"rank": 0, "processes": 1, "start_nimg": 0, "pin_memory": False}
    monkeypatch.setattr(torch.utils.data.dataloader._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)
    with pytest.raises(EnoughError):
        next(build_loader(sets, schedule(), workers=1, on_wait=waiting, **options))
    assert seconds == sorted(seconds)
    assert seconds[-1] >= 0.5
    assert not multiprocessing.active_children()


def test_a_slow_worker_is_waited_for_and_nothing_is_lost(sets, monkeypatch):
    expected = list(load(sets))
    monkeypatch.setattr(loader, "POLL_SECONDS", 0.05)
    training = PictureSet.training

    def slow(self, position, resolution):
        if position in (5, 17):
            time.sleep(0.4)
        return training(self, position, resolution)

    monkeypatch.setattr(PictureSet, "training", slow)
    waits = []
    options = {"rank": 0, "processes": 1, "start_nimg": 0, "pin_memory": False}
    same(expected, list(build_loader(sets, schedule(), workers=2, on_wait=waits.append, **options)))
    assert waits


def test_a_worker_that_is_killed_is_one_sentence(sets):
    batches = load(sets, workers=1)
    next(batches)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises((LoaderError, RuntimeError)) as caught:
        list(batches)
    # torch may notice in its signal handler, wherever the main thread is; the engine then asks the same function.
    error = caught.value if isinstance(caught.value, LoaderError) else loader.dead_worker(caught.value)
    assert error is not None
    assert str(error).startswith(("A loader process has died (Killed); ", "A loader process has died (unexpectedly); "))
    assert "data.workers" in str(error)
    assert loader.dead_worker(RuntimeError("something else")) is None


@pytest.mark.parametrize("error", [ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), EOFError()])
def test_a_worker_that_dies_while_it_passes_a_batch_is_one_sentence(sets, monkeypatch, error):
    """torch then fails in the socket through which the worker passes the memory of a batch."""

    def gone(_):
        raise error

    batches = load(sets, workers=1)
    next(batches)
    monkeypatch.setattr(torch.utils.data.dataloader._MultiProcessingDataLoaderIter, "__next__", gone)
    with pytest.raises(LoaderError, match=r"^A loader process has died \(unexpectedly\); .*data.workers"):
        next(batches)


def test_what_a_worker_could_not_read_is_no_death(sets, monkeypatch):
    def gone(_):
        raise FileNotFoundError("Caught FileNotFoundError in DataLoader worker process 0.")

    batches = load(sets, workers=1)
    next(batches)
    monkeypatch.setattr(torch.utils.data.dataloader._MultiProcessingDataLoaderIter, "__next__", gone)
    with pytest.raises(FileNotFoundError):
        next(batches)


def test_workers_that_cannot_be_started_are_one_sentence(sets, monkeypatch):
    def none(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch.utils.data.dataloader, "_MultiProcessingDataLoaderIter", none)
    with pytest.raises(UserError, match=r"^data.workers=2: .*cannot be started \(No space left on device\).*/dev/shm"):
        next(load(sets, workers=2))
