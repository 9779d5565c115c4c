import subprocess
import sys


def test_importing_the_spaces_is_light():
    code = (
        "import sys; from raysearch import search_spaces as s; s.resnet, s.bind, s.Space; "
        "print([m for m in ('ray', 'torch') if m in sys.modules], s.__all__ == sorted(s.__all__))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "[] True\n"
