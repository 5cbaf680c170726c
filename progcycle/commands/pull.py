"""``progcycle pull USER/MODEL``: get a model of the Hugging Face Hub as a folder."""

from collections.abc import Sequence
from pathlib import Path

from progcycle.commands.cli import guarded, parser
from progcycle.commands.new import quoted
from progcycle.output import say

DESCRIPTION = """Get a model of the Hugging Face Hub as a folder, which all commands take as a snapshot.

Weights, config, recipe, model card, figures and samples are downloaded, and the weights are loaded once to see that
they fit exactly. Nothing in the files is executed. A private model needs hf auth login, or a token in HF_TOKEN."""
EXAMPLES = """examples:
  progcycle pull me/openmoji
  progcycle pull me/openmoji --out models/openmoji --revision v2
  progcycle translate openmoji photos/ translated/ --direction ab"""


def run(argv: Sequence[str] | None = None) -> int:
    """Download the folder."""
    p = parser("pull", DESCRIPTION, EXAMPLES)
    p.add_argument("name", metavar="USER/MODEL", help="repository of the Hub")
    p.add_argument("--out", type=Path, metavar="FOLDER", help="folder to create (default: MODEL)")
    p.add_argument("--revision", metavar="R", help="a branch, a tag or a commit (default: main)")
    args = p.parse_args(argv)

    from progcycle.export import pull_model
    from progcycle.export.hub import quieten

    quieten()
    folder = args.out or Path(args.name.rpartition("/")[2] or "model")
    model = pull_model(args.name, folder, revision=args.revision)
    command = f"  progcycle {model.command} {quoted(folder)} --help" if model.command else ""
    say(f"wrote {folder}: {model.kind}, {model.resolution} px, {model.config.nimg:,} pictures shown")
    if command:
        say(f"to use it:\n{command}")
    return 0


main = guarded(run)
