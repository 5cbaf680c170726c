"""``progcycle demo RUN``: the page of a model on this computer."""

from collections.abc import Sequence

from progcycle.commands.cli import add_device, add_run, guarded, natural, parser, pick_device, positive
from progcycle.commands.page import add_page
from progcycle.output import say

DESCRIPTION = """Serve the page of progcycle page on this computer, with the whole model behind it, until Ctrl-C.

The server listens on 127.0.0.1 only, and answers its own page only. It shows all snapshots of the run, and makes what
progcycle translate and generate make. It needs no extra."""
EXAMPLES = """examples:
  progcycle demo runs/openmoji
  progcycle demo runs/openmoji --port 0 --names drawing coloured
  progcycle demo runs/pggan_celebahq --device cuda --over stages"""


def run(argv: Sequence[str] | None = None) -> int:
    """Answer requests until Ctrl-C."""
    p = parser("demo", DESCRIPTION, EXAMPLES)
    add_run(p)
    p.add_argument("--port", type=natural, default=8000, metavar="N", help="default: 8000; 0: any that is free")
    add_page(p)
    p.add_argument(
        "--queue",
        type=positive,
        default=8,
        metavar="N",
        help="requests that may wait for the model (default 8); further ones are told to try again",
    )
    p.add_argument("--max-mb", type=positive, default=20, metavar="N", help="largest upload in MB (default 20)")
    add_device(p)
    args = p.parse_intermixed_args(argv)
    if args.port >= 1 << 16:
        p.error(f"argument --port: ports go up to {(1 << 16) - 1}, got {args.port}")

    from progcycle.web import Demo, serve

    demo = Demo(
        args.run,
        args.over,
        names=tuple(args.names),
        title=args.title,
        examples=args.examples,
        device=pick_device(args.device),
        queue=args.queue,
        most_bytes=args.max_mb << 20,
    )
    with serve(demo, args.port) as server:
        say(f"serving {args.run} on http://127.0.0.1:{server.server_port}/ until Ctrl-C")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("stopped")
    return 0


main = guarded(run)
