"""Label configs: made, and read."""

import pytest

from lightning_al.oracle.people.label_studio.control import KINDS, find_control, new_config

IMAGE = '<Image name="image" value="$image"/>'


@pytest.mark.parametrize("shows", ["image", "text"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_config_is_found_to_fit(kind, shows):
    names = ["cat", 'a "dog" & <co>']
    control = find_control(new_config(kind, shows, names), kind)
    assert (control.kind, control.shows, control.field) == (kind, shows, shows)
    assert control.labels == (() if kind == "number" else tuple(names))
    assert control.missing([*names, "rat"]) == ([] if kind == "number" else ["rat"])


def test_a_config_of_ones_own():
    config = f"""<View>{IMAGE}<Header value="What?"/>
        <Choices name="quality" toName="image" choice="multiple"><Choice value="sharp"/></Choices>
        <Choices name="animal" toName="image"><View><Choice value="cat" alias="c"/></View></Choices>
        <TextArea name="remark" toName="image"/></View>"""
    animal = find_control(config, "class")
    assert (animal.name, animal.labels) == ("animal", ("c",))  # which is what results have
    assert find_control(config, "classes").labels == ("sharp",)


@pytest.mark.parametrize(
    ("config", "kind", "name", "message"),
    [
        (f"<View>{IMAGE}</View>", "class", None, '<Choices choice="single">.* has 0; its controls: none'),
        (f'<View>{IMAGE}<RectangleLabels name="b" toName="image"/></View>', "mask", None, "RectangleLabels 'b'"),
        (
            f'<View>{IMAGE}<Choices name="a" toName="image"/><Choices name="b" toName="image"/></View>',
            "class",
            None,
            "has 2.*`control=`",
        ),
        (f'<View>{IMAGE}<Choices name="a" toName="image"/></View>', "class", "b", "has 0"),
        ('<View><Audio name="x" value="$x"/><Choices name="a" toName="x"/></View>', "class", None, "'x', which must"),
        ('<View><Choices name="a" toName="x"/></View>', "class", None, "which must be an <Image> or a <Text>"),
        ("", "class", None, "no XML"),
        ("<View><Choices", "class", None, "no XML.*'<View><Choices'"),
    ],
)
def test_configs_that_do_not_fit(config, kind, name, message):
    with pytest.raises(ValueError, match=message):
        find_control(config, kind, name)
