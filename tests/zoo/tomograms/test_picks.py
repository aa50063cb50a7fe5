import numpy as np
import pytest

from lightning_al.zoo.tomograms.picks import class_indices, read_picks, tomograms_in
from tests.helpers.tomograms import save_volume


@pytest.fixture
def read(tmp_path):
    """Write a table beside a volume of 30 x 20 x 10 voxels (x, y, z), and read it."""
    save_volume(np.zeros((10, 20, 30), np.float32), tmp_path / "a.mrc")

    def read(text, cube=4, voxel_size=1.0):
        (tmp_path / "a.csv").write_text(text)
        return read_picks(tmp_path / "a.mrc", tmp_path / "a.csv", root=tmp_path, cube=cube, voxel_size=voxel_size)

    return read


def test_tables_of_several_kinds(read):
    first, second = read("x,y,z,class\n29,19,9,ribosome\n0,1,2,\n")
    assert (first.key, first.centre, first.class_name) == ("a.mrc 29,19,9", (9, 19, 29), "ribosome")
    assert (second.centre, second.class_name) == ((2, 1, 0), "")
    semicolons = read("Class; Z;Y;X;score\n ribosome ;9;19.0;29;0.5\n\n;2;1;0;0.1\n")
    assert semicolons == [first, second]


def test_units_and_the_nearest_voxel(read):
    picks = read("x,y,z,class\n2.4,2.5,3.5,a\n-0.5,0,0,a\n", voxel_size=1)
    assert [pick.centre for pick in picks] == [(4, 3, 2), (0, 0, 0)]
    (pick,) = read("x,y,z,class\n103.9,40,20,a\n", voxel_size=4.0)
    assert (pick.key, pick.centre) == ("a.mrc 103.9,40,20", (5, 10, 26))


def test_keys_are_of_the_place_and_not_of_the_row(read):
    one = {pick.key: pick for pick in read("x,y,z,class\n1,2,3,a\n4,5,6.50,b\n")}
    other = {pick.key: pick for pick in read("z,y,x,class\n7,7,7,c\n6.5,5.0,4,b\n3,2,1,a\n")}
    assert one.items() < other.items()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "x,y,z,class\n30,0,0,a\n",
            r"30x20x10 voxels \(x, y, z\): line 2 is at voxel \(30, 0, 0\), outside\.",
        ),
        ("x,y,z,class\n0,0,-0.6,a\n", r"line 2 is at voxel \(0, 0, -1\), outside"),
        ("x,y,z,class\n" + "0,99,0,a\n" * 9, r"has 9 row\(s\).*line 2 .*line 4 .*; \.\.\.\. .*--data.voxel_size"),
        ("x,y,z,class\n1,one,1,a\n1,nan,1,a\n1,1\n", "has 3 row.*line 2 has no numbers.*line 3 has.*line 4 has"),
        ("x,y,z,class\n1,1,1,a\n1.0,1,1,b\n", "line 3 is at a place that a line before it has"),
        ("x,y,z,class\n\n", "has no picks"),
        ("", "no column 'x'; its first line has none. It needs x, y, z, class"),
        ("x,y,class\n1,1,a\n", "no column 'z'; its first line has 'x', 'y', 'class'"),
    ],
)
def test_rows_of_no_use_are_named(read, table, message):
    with pytest.raises(ValueError, match=message):
        read(table)


def test_a_cube_larger_than_the_volume(read):
    with pytest.raises(ValueError, match=r"30x20x10 voxels \(x, y, z\), too few for a cube of 11.*`--data.cube=10`"):
        read("x,y,z,class\n1,1,1,a\n", cube=11)
    assert read("x,y,z,class\n1,1,1,a\n", cube=10)


def test_unknown_classes(read):
    picks = read("x,y,z,class\n1,1,1,b\n2,2,2,\n3,3,3,a\n")
    assert class_indices(picks, ["a", "b"], no_label=-1) == [1, -1, 0]
    with pytest.raises(ValueError, match=r"a\.mrc 1,1,1: no class 'b'; they are a, c.*end of `classes`"):
        class_indices(picks, ["a", "c"], no_label=-1)


def test_files_that_do_not_go_together(tmp_path):
    with pytest.raises(ValueError, match="holds no tomogram"):
        tomograms_in(tmp_path)
    (tmp_path / "deep").mkdir()
    for name in ("b.MRC", "b.csv", "deep/a.tif", "deep/a.csv", "notes.txt", ".hidden.csv"):
        (tmp_path / name).touch()
    listed = [[str(path.relative_to(tmp_path)) for path in pair] for pair in tomograms_in(tmp_path)]
    assert listed == [["b.MRC", "b.csv"], ["deep/a.tif", "deep/a.csv"]]
    (tmp_path / "c.em").touch()
    (tmp_path / "c.csv").touch()
    with pytest.raises(FileNotFoundError, match=r"c\.csv has no tomogram beside it.*c\.em is of no type that is read"):
        tomograms_in(tmp_path)
    (tmp_path / "c.mrc").touch()
    assert len(tomograms_in(tmp_path)) == 3
    (tmp_path / "c.rec").touch()
    with pytest.raises(ValueError, match=r"c\.mrc and c\.rec would have one table"):
        tomograms_in(tmp_path)
    (tmp_path / "c.rec").rename(tmp_path / "d.rec")
    with pytest.raises(FileNotFoundError, match=r"d\.rec has no picks beside it. Write d\.csv"):
        tomograms_in(tmp_path)
