"""YAML that is short but stands for much, or is none."""

from __future__ import annotations

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


BAD_YAML = {
    "aliases of aliases": (LAUGHS, "expands to more than"),
    "merged aliases": (LAUGHS + "b: {<<: *a11}\n", "expands to more than"),
    "a node that contains itself": ("a: &a [*a]\n", "contains itself"),
    "deep brackets": ("[" * 100_000, "nest"),
    "deep mappings": ("{a: " * 500 + "1" + "}" * 500, "levels deep"),
    "deep blocks": ("".join(f"{' ' * i}a:\n" for i in range(200)), "levels deep"),
    "a class": ("a: !!python/object/apply:os.system [id]\n", "not YAML"),
    "a tag that does not fit": ("a: !!bool x\n", "not YAML"),
    "a time that is none": ("a: !!timestamp x\n", "not YAML"),
    "no YAML": ("a: [1\nb", "not YAML"),
    "a huge number": (f"a: {'9' * 10_000}\n", "a number of 10,000 digits"),
}
