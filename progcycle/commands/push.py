"""``progcycle push RUN USER/MODEL``: publish a trained model on the Hugging Face Hub, or write its folder."""

from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import add_run, guarded, parser
from progcycle.errors import UserError
from progcycle.output import say

DESCRIPTION = """Publish a trained model on the Hugging Face Hub: weights, recipe, and a model card made from the run.

The card says what the model is, what it was trained on, the plan, the figures of progcycle evaluate with their
protocol, how to use it, limits, licences and papers. Samples of the run are shown on it; of translators they show test
pictures, so leave them out with --no-sheet where those must not be published. Nothing in it tells where files lie on
this machine. All files go in one commit. With --folder nothing is sent: the same files are written to a folder.

Log in first, with hf auth login or a token in HF_TOKEN. Others use the model with progcycle.load("USER/MODEL"), or
progcycle pull USER/MODEL."""
EXAMPLES = """examples:
  progcycle push runs/openmoji me/openmoji --license cc-by-sa-4.0 --private
  progcycle push runs/faces me/faces --license other --data-license "my own photographs" --about "Faces of statues."
  progcycle push runs/openmoji --folder published/ --license cc-by-sa-4.0"""


def run(argv: Sequence[str] | None = None) -> int:
    """Push the model, or write the folder."""
    p = parser("push", DESCRIPTION, EXAMPLES)
    add_run(p)
    p.add_argument("name", nargs="?", metavar="USER/MODEL", help="repository of the Hub, which is created if need be")
    p.add_argument("--folder", type=Path, metavar="FOLDER", help="write the files to this new folder, and send nothing")
    p.add_argument(
        "--license", "--licence", metavar="ID", help="of the weights: mit, cc-by-sa-4.0, ..., another name, or unknown"
    )
    p.add_argument(
        "--data-license",
        "--data-licence",
        metavar="TEXT",
        help="of the pictures of training (default: what their store, or README.md with a license, says)",
    )
    p.add_argument("--about", default="", metavar="TEXT", help="what the model is, in a sentence or more")
    p.add_argument("--no-sheet", action="store_true", help="leave out the sheet of samples")
    p.add_argument("--private", action="store_true", help="if the repository is new, only you can see it")
    p.add_argument("--revision", metavar="BRANCH", help="push to this branch, which is created if need be")
    p.add_argument("--message", metavar="TEXT", help="of the commit")
    args = p.parse_intermixed_args(argv)
    if args.folder is None and args.name is None:
        raise UserError("push needs the name of a repository, such as me/openmoji, or --folder FOLDER.")
    sending = {"--private": args.private, "--revision": args.revision, "--message": args.message}
    if args.folder is not None and any(sending.values()):
        option = next(option for option, given in sending.items() if given)
        raise UserError(f"{option} is for pushing, and with --folder nothing is sent; leave one of them out.")

    from progcycle.export import load
    from progcycle.export.hub import check_name, quieten
    from progcycle.export.publish import push, terms_of, write_hub_folder

    quieten()
    if args.name is not None:
        check_name(args.name)
    model = load(args.run)
    terms = terms_of(model.config, args.license, args.data_license, args.about)
    publication, sheet = model.publication(), not args.no_sheet
    if args.folder is not None:
        write_hub_folder(publication, args.folder, args.name or args.folder.absolute().name, terms, sheet)
        say(f"wrote {args.folder}: read {args.folder / 'README.md'} before you publish it")
        return 0
    how = {"private": args.private or None, "revision": args.revision, "message": args.message, "sheet": sheet}
    say(f"pushed {args.name}: {push(publication, args.name, terms, **how)}")
    return 0


main = guarded(run)
