"""``blurgate`` and ``python -m blurgate``: the command line, which a signal ends from the first import on."""

from blurgate.signals import end_on_signals


def main() -> None:
    """Run the command line as a process of its own."""
    with end_on_signals():
        from blurgate import cli

        cli.main()


if __name__ == "__main__":
    main()
