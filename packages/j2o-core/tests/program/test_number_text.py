from j2o_core.program._number_text import bytes_text, count_text


def test_sizes_have_units():
    assert [bytes_text(n) for n in (0, 999, 1000, 2_500_000, 3_000_000_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "2.5 MB",
        "3.00 GB",
    ]


def test_counts_are_short():
    assert [count_text(n) for n in (0, 999, 1000, 22_050_000, 7_000_000_000)] == ["0", "999", "1.0k", "22.1M", "7.0G"]
