import tracemalloc

from control_plane.repos.change_reader import touched_lines

PATCH = b"""diff --git a/a b/a
index 1..2 100644
--- a/a
+++ b/a
@@ -1,2 +1 @@ diff --git a/not b/not
-x
-diff --git a/x b/x
+@@ -5 +5 @@
@@ -9,0 +9,3 @@
+1
+2
+3
diff --git a/bin b/bin
index 1..2 100644
Binary files a/bin and b/bin differ
diff --git a/mode b/mode
old mode 100644
new mode 100755
"""


def test_content_that_looks_like_a_header_is_content():
    first, second, third = touched_lines(PATCH)

    assert (first.added, first.removed, first.binary) == ((1, 9, 10, 11), (1, 2), False)
    assert (second.added, second.removed, second.binary) == ((), (), True)
    assert (third.added, third.removed, third.binary) == ((), (), False)


def test_an_empty_patch_has_no_sections():
    assert list(touched_lines(b"")) == []


def test_the_lines_of_a_patch_are_never_all_in_memory_at_once():
    patch = b"diff --git a/a b/a\n@@ -0,0 +1 @@\n" + b"+x\n" * 300_000

    tracemalloc.start()
    try:
        (only,) = touched_lines(patch)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()

    assert only.added == (1,)
