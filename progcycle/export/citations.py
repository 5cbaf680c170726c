"""The papers whose methods models are made by, as BibTeX."""

from progcycle import __version__

PAPERS = {
    "karras2018": (
        "Karras, Tero and Aila, Timo and Laine, Samuli and Lehtinen, Jaakko",
        "Progressive Growing of {GANs} for Improved Quality, Stability, and Variation",
        "International Conference on Learning Representations",
        2018,
        "1710.10196",
    ),
    "zhu2017": (
        "Zhu, Jun-Yan and Park, Taesung and Isola, Phillip and Efros, Alexei A.",
        "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
        "IEEE International Conference on Computer Vision",
        2017,
        "1703.10593",
    ),
    "berthelot2017": (
        "Berthelot, David and Schumm, Thomas and Metz, Luke",
        "{BEGAN}: Boundary Equilibrium Generative Adversarial Networks",
        "arXiv preprint",
        2017,
        "1703.10717",
    ),
    "denton2015": (
        "Denton, Emily and Chintala, Soumith and Szlam, Arthur and Fergus, Rob",
        "Deep Generative Image Models using a {Laplacian} Pyramid of Adversarial Networks",
        "Advances in Neural Information Processing Systems",
        2015,
        "1506.05751",
    ),
    "radford2016": (
        "Radford, Alec and Metz, Luke and Chintala, Soumith",
        "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
        "International Conference on Learning Representations",
        2016,
        "1511.06434",
    ),
    "gulrajani2017": (
        "Gulrajani, Ishaan and Ahmed, Faruk and Arjovsky, Martin and Dumoulin, Vincent and Courville, Aaron",
        "Improved Training of {Wasserstein} {GANs}",
        "Advances in Neural Information Processing Systems",
        2017,
        "1704.00028",
    ),
}
BY_TASK = {"cyclegan": "zhu2017", "pggan": "karras2018", "began": "berthelot2017", "lapgan": "denton2015"}
GROWING = "karras2018"
# By the generator's network, in place of the task's.
BY_NETWORK = {
    "dcgan": "radford2016",
    "dcgan_theano": "radford2016",
    "wgan_gp": "gulrajani2017",
    "wgan_gp_residual": "gulrajani2017",
}


def citation(task: str, generator: str = "", grows: bool = False) -> str:
    """BibTeX of the methods of a model, and of progcycle.

    Args:
        task: of the recipe; one that is not known has no paper.
        generator: name of its generator's network.
        grows: whether its training had several stages.
    """
    method = BY_NETWORK.get(generator, BY_TASK.get(task))
    keys = dict.fromkeys(key for key in (method, GROWING if grows else None) if key is not None)
    entries = [_entry(key) for key in keys]
    own = f"@software{{progcycle,\n  author = {{{{The progcycle authors}}}},\n  title = {{progcycle {__version__}}}\n}}"
    return "\n\n".join([*entries, own])


def _entry(key: str) -> str:
    authors, title, where, year, arxiv = PAPERS[key]
    return (
        f"@inproceedings{{{key},\n  author = {{{authors}}},\n  title = {{{title}}},\n  booktitle = {{{where}}},\n"
        f"  year = {{{year}}},\n  url = {{https://arxiv.org/abs/{arxiv}}}\n}}"
    )
