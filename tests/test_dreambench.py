from idgen.dreambench import read_class_nouns, read_templates

LINES = """subject_name,class
dog6,dog
my own bear,stuffed animal

Prompts
Object Prompts:
    'a {0} {1} in the jungle'.format(unique_token, class_token),
    'a {0} {1}, on a mat'.format(unique_token, class_token),
Live Subject Prompts:
    'a {0} {1} wearing a hat'.format(unique_token, class_token),
""".splitlines()


def test_its_lists_are_told_apart() -> None:
    assert read_class_nouns(LINES) == {"dog6": "dog", "my own bear": "stuffed animal"}
    objects = read_templates(LINES, live=False, placeholders=["[V]"])
    assert objects == ["a {0} {1} in the jungle", "a {0} {1}, on a mat"]
    live = read_templates(LINES, live=True, placeholders=["[V]"])
    assert live == ["a {0} {1} wearing a hat"]


def test_a_file_without_headings_is_one_list_for_all() -> None:
    lines = ["# mine", "a [V] dog", "no subject here", "a {0} {1} at night"]
    for live in (False, True):
        found = read_templates(lines, live=live, placeholders=["[V]"])
        assert found == ["a [V] dog", "a {0} {1} at night"]
