"""`python -m trivium` is `trivium`."""

from trivium.interrupts import end_while_loading

end_while_loading()

from trivium.cli import main  # noqa: E402 loading it takes a while already

main()
