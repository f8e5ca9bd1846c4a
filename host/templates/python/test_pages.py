import unittest
from types import SimpleNamespace

from pages import largest, page_of, shown


def region(size, backing=16, at=None):
    return SimpleNamespace(size=size, backing=backing, granule=backing, at=at)


class Pages(unittest.TestCase):
    def test_the_largest_page_that_every_region_allows_is_chosen(self):
        regions = [region(1 << 30, backing=21), region(1 << 20)]
        self.assertEqual(largest([12, 16, 21], regions, None), 16)

    def test_a_limit_below_every_page_leaves_none(self):
        self.assertIsNone(largest([12, 16], [region(1 << 20)], 10))

    def test_an_address_of_its_own_must_be_a_whole_page(self):
        self.assertEqual(largest([12, 16], [region(1 << 20, at=0x1000)], None), 12)

    def test_page_sizes_are_read_and_shown(self):
        self.assertEqual([page_of(text) for text in ["4K", "64K", "2M", "1G", "4096"]], [12, 16, 21, 30, 12])
        for text in ["", "K", "3K", "0", "64k", "4KK", "large"]:
            self.assertIsNone(page_of(text), text)
        self.assertEqual(shown(16), "64 KiB")


if __name__ == "__main__":
    unittest.main()
