"""Identities: the face that returns over a subject's different photographs, and what ages say of a subject."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agebench.curation.identities import RIVAL, age_offsets, find_identities

DIMENSIONS = 128
SAME = 0.5
SPREAD = 0.03  # of each number: two faces of one person lie about 0.48 apart, as dlib's do; their middle is nearer


class People:
    """People as points on a sphere of 1.4, about 0.75 apart as dlib's are, and faces about them."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.middle = self.rng.normal(size=DIMENSIONS)
        self.middle *= 1.35 / np.linalg.norm(self.middle)

    def person(self) -> np.ndarray:
        away = self.rng.normal(size=DIMENSIONS)
        return self.middle + 0.53 * away / np.linalg.norm(away)

    def face(self, person: np.ndarray | None = None, spread: float = SPREAD) -> np.ndarray:
        return (self.person() if person is None else person) + spread * self.rng.normal(size=DIMENSIONS)


def frame(pictures: Sequence[Sequence[np.ndarray]], subject: str | None = "s", first: int = 0) -> pl.DataFrame:
    """Records first, first + 1, … of one subject, each of a picture with the faces given."""
    rows = [
        (subject, first + i, f"{subject}{i}", k, face.astype(np.float32))
        for i, faces in enumerate(pictures)
        for k, face in enumerate(faces)
    ]
    return pl.DataFrame(
        rows,
        schema={
            "subject_id": pl.Utf8,
            "record_id": pl.Int32,
            "sha256": pl.Utf8,
            "face_no": pl.Int32,
            "vector": pl.List(pl.Float32),
        },
        orient="row",
    )


def chosen(faces: pl.DataFrame) -> list[int | None]:
    return find_identities(faces, same_person=SAME)["identity_face_no"].to_list()


def test_the_face_that_returns_is_the_subjects_wherever_it_stands() -> None:
    people = People()
    star = people.person()
    where = [[0, 1], [1], [0, 0, 1], [1, 0], [0]]
    pictures = [[people.face(star if is_star else None) for is_star in picture] for picture in where]
    found = find_identities(frame(pictures), same_person=SAME)
    assert found["record_id"].to_list() == [0, 1, 2, 3, 4]
    assert found["identity_face_no"].to_list() == [1, 0, 2, 0, None]
    assert found["identity_pictures"].to_list() == [4] * 5
    assert found["identity_faces"].to_list() == [2, 1, 3, 2, 1]
    near = found["identity_distance"]
    assert near[:4].max() < SAME <= near[4]  # type: ignore[operator]


def test_a_partner_in_every_second_picture_is_not_the_subject() -> None:
    people = People(1)
    star, partner = people.person(), people.person()
    pictures = [[people.face(partner), people.face(star)] for _ in range(6)] + [[people.face(star)] for _ in range(6)]
    found = find_identities(frame(pictures), same_person=SAME)
    assert found["identity_face_no"].to_list() == [1] * 6 + [0] * 6
    assert found["identity_rival"].to_list() == pytest.approx([3 / 9] * 12)


def test_a_partner_does_not_win_by_few_pictures_of_the_subject_alone_that_differ() -> None:
    """The subject's own faces vary so much that the partner's are the tighter cluster, and in as many pictures."""
    people = People(2)
    star, partner = people.person(), people.person()
    pictures = [[people.face(partner, 0.005), people.face(star, 0.033)] for _ in range(8)]
    pictures += [[people.face(star, 0.033)] for _ in range(4)]
    assert chosen(frame(pictures)) == [1] * 8 + [0] * 4


def test_two_who_are_always_together_leave_the_subject_undecided() -> None:
    people = People(3)
    one, two = people.person(), people.person()
    found = find_identities(frame([[people.face(one), people.face(two)] for _ in range(8)]), same_person=SAME)
    assert found["identity_face_no"].null_count() == 8
    assert found["identity_pictures"].to_list() == [0] * 8
    assert found["identity_rival"].to_list() == pytest.approx([1.0] * 8)


def test_the_same_photograph_saved_again_and_again_is_one() -> None:
    people = People(4)
    stranger, star = people.face(), people.person()
    again = [[stranger + 0.002 * people.rng.normal(size=DIMENSIONS)] for _ in range(6)]  # other bytes
    assert chosen(frame(again)) == [None] * 6
    assert chosen(frame(again + [[people.face(star)] for _ in range(3)])) == [None] * 6 + [0] * 3


def test_records_of_one_content_count_once_and_get_the_same_answer() -> None:
    people = People(5)
    star = people.person()
    faces = frame([[people.face(star)] for _ in range(3)])
    copies = faces.head(1).with_columns(record_id=pl.lit(9, pl.Int32))
    assert chosen(pl.concat([faces, copies])) == [0] * 4
    two = pl.concat([faces.head(2), *(copies.with_columns(record_id=pl.lit(i, pl.Int32)) for i in range(5, 9))])
    found = find_identities(two, same_person=SAME)
    assert found["identity_face_no"].null_count() == 6
    assert found["identity_pictures"].to_list() == [0] * 6


def test_a_chain_of_like_faces_does_not_join_strangers() -> None:
    people = People(6)
    star, other = people.person(), people.person()
    chain = [[star + share * (other - star)] for share in np.linspace(0, 1, 7)]
    pictures = [[people.face(star)] for _ in range(8)] + chain + [[people.face(other)] for _ in range(4)]
    found = chosen(frame(pictures))
    assert found[:8] == [0] * 8
    assert found[-4:] == [None] * 4


def test_two_pictures_are_too_few_and_no_subject_is_no_answer() -> None:
    people = People(7)
    star = people.person()
    assert chosen(frame([[people.face(star)], [people.face(star)]])) == [None, None]
    assert find_identities(frame([[people.face(star)]] * 5, subject=None), same_person=SAME).is_empty()
    assert find_identities(frame([]), same_person=SAME).columns[0] == "record_id"


def test_subjects_do_not_vouch_for_each_other() -> None:
    people = People(8)
    star = people.person()
    two = [frame([[people.face(star)], [people.face(star)]], f"s{i}", 2 * i) for i in range(3)]
    assert chosen(pl.concat(two)) == [None] * 6


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 12), st.integers(0, 3))
def test_the_answer_does_not_depend_on_the_order_of_the_rows(seed: int, pictures: int, others: int) -> None:
    people = People(seed)
    star = people.person()
    faces = frame([[people.face(star, 0.02), *(people.face() for _ in range(others))] for _ in range(pictures)])
    found = find_identities(faces, same_person=SAME)
    assert found.equals(find_identities(faces.sample(fraction=1, shuffle=True, seed=seed), same_person=SAME))
    assert found["identity_face_no"].to_list() == [0] * pictures


def test_a_wide_column_and_a_column_of_lists_are_alike() -> None:
    people = People(9)
    star = people.person()
    faces = frame([[people.face(star)] for _ in range(4)])
    wide = faces.with_columns(pl.col("vector").list.to_array(DIMENSIONS))
    assert find_identities(faces, same_person=SAME).equals(find_identities(wide, same_person=SAME))


def crowd(people: People, n: int = 300, *, like: np.ndarray | None = None) -> pl.DataFrame:
    """Strangers, each another subject with one picture; those `like` a vector lie about it."""
    faces = [
        frame([[people.face(like)]], f"crowd{like is None}{i}", 10_000 + i + 1000 * (like is None)) for i in range(n)
    ]
    return pl.concat(faces)


def test_a_face_that_many_strangers_have_is_nobodys() -> None:
    """Blurred faces lie near each other, whoever they are of: they neither make a cluster nor hide one."""
    people = People(12)
    star, blur = people.person(), people.person()
    pictures = [[people.face(blur)] for _ in range(8)] + [[people.face(star), people.face(blur)] for _ in range(4)]
    alone = find_identities(frame(pictures), same_person=SAME)
    assert alone["identity_face_no"].to_list() == [0] * 8 + [1] * 4
    everybody = pl.concat([frame(pictures), crowd(people), crowd(people, 30, like=blur)])
    found = find_identities(everybody, same_person=SAME).filter(pl.col("record_id") < 12)
    assert found["identity_face_no"].to_list() == [None] * 8 + [0] * 4
    assert found["identity_faces"].to_list() == [0] * 8 + [1] * 4
    assert found["identity_pictures"].to_list() == [4] * 12
    assert found["identity_distance"].null_count() == 8


def test_a_cluster_reaches_no_farther_than_to_where_strangers_begin() -> None:
    people = People(13)
    star = people.person()
    away = people.person() - star
    look_alike = star + 0.5 * away
    pictures = [[people.face(star)] for _ in range(6)] + [[people.face(look_alike, 0.02)]]
    near = find_identities(frame(pictures), same_person=SAME)
    assert near["identity_face_no"][6] == 0
    assert near["identity_bound"].to_list() == [SAME] * 7
    everybody = pl.concat([frame(pictures), crowd(people, 1000), crowd(people, 9, like=star + 0.3 * away)])
    found = find_identities(everybody, same_person=SAME).filter(pl.col("record_id") < 7)
    assert found["identity_face_no"].to_list() == [0] * 6 + [None]
    assert found["identity_bound"][0] < near["identity_distance"][6] < SAME


@pytest.mark.slow
def test_half_a_million_records_take_little_memory() -> None:
    import resource

    people = People(10)
    rng = np.random.default_rng(0)
    sizes = np.minimum(rng.geometric(1 / 25, 20_000), 1000)
    sizes[:5] = 1000
    subject = np.repeat(np.arange(len(sizes)), sizes)
    n = len(subject)
    several = np.repeat(np.arange(n), 2)
    vectors = rng.normal(size=(2 * n, DIMENSIONS)).astype(np.float32) * 0.05
    vectors[::2] = vectors[::2] * 0.6 + people.middle.astype(np.float32)
    faces = pl.DataFrame(
        {
            "subject_id": pl.Series(subject[several]).cast(pl.Utf8),
            "record_id": pl.Series(several, dtype=pl.Int32),
            "sha256": pl.Series(several).cast(pl.Utf8),
            "face_no": pl.Series(np.tile([0, 1], n), dtype=pl.Int32),
            "vector": pl.Series(vectors),
        }
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = find_identities(faces, same_person=SAME)
    assert len(found) == n
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20 < 3


# --- ages ------------------------------------------------------------------------------------------------------


def ages(rows: list[tuple[str | None, int, str, float | None, float | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["subject_id", "record_id", "sha256", "age", "estimated"], orient="row")


def test_a_wrong_birth_date_shifts_all_and_a_wrong_year_one() -> None:
    shifted = [("a", i, f"a{i}", 20 + 5 * i, 32 + 5 * i + d) for i, d in enumerate([0, 1, -1, 2, -2])]
    one_off = [("b", 10 + i, f"b{i}", 40, 40 + d) for i, d in enumerate([0, 1, -1, 25])]
    found = age_offsets(ages([*shifted, *one_off]))  # type: ignore[list-item]
    a, b = found.filter(pl.col("record_id") < 10), found.filter(pl.col("record_id") >= 10)
    assert a["subject_age_offset"].to_list() == [12] * 5
    assert a["subject_age_spread"].to_list() == [1] * 5
    assert a["age_offset_residual"].to_list() == [0, 1, -1, 2, -2]
    assert b["subject_age_offset"].to_list() == [0.5] * 4
    assert b["age_offset_residual"].to_list() == [-0.5, 0.5, -1.5, 24.5]
    assert b["subject_age_pictures"].to_list() == [4] * 4


def test_copies_of_a_picture_count_once_and_what_is_not_known_not_at_all() -> None:
    nan = float("nan")
    rows: list[tuple[str | None, int, str, float | None, float | None]] = [
        ("a", 0, "x", 30, 31), ("a", 1, "y", 30, 60), ("a", 2, "y", 30, 60), ("a", 3, "y", 30, 60),
        ("a", 4, "z", 30, 33), ("a", 5, "u", None, 33), ("a", 6, "v", 30, nan), (None, 7, "w", 30, 31)]  # fmt: skip
    found = age_offsets(ages(rows))
    assert found["record_id"].to_list() == [0, 1, 2, 3, 4]
    assert found["subject_age_offset"].to_list() == [3] * 5
    assert found["subject_age_pictures"].to_list() == [3] * 5
    assert age_offsets(ages([]).cast({"age": pl.Float64, "estimated": pl.Float64})).is_empty()


def test_a_rival_is_less_than_the_bound_wherever_a_face_is_chosen() -> None:
    people = People(11)
    star, partner = people.person(), people.person()
    for alone in range(6):
        pictures = [[people.face(star), people.face(partner)] for _ in range(5)] + [[people.face(star)]] * 0
        pictures += [[people.face(star)] for _ in range(alone)]
        found = find_identities(frame(pictures), same_person=SAME)
        assert found["identity_rival"][0] == pytest.approx(2.5 / (2.5 + alone))
        assert (found["identity_face_no"][0] is not None) == (2.5 / (2.5 + alone) <= RIVAL)
