"""A child process: what its end means. tests/app/process drives real ones."""

from kgen.system.child import describe_exit


def test_an_exit_code_in_words():
    assert (
        "memory" in describe_exit(-9)
        and describe_exit(3) == "exit code 3"
        and "0xc0000005" in describe_exit(-1073741819 & 0xFFFFFFFF)
    )
