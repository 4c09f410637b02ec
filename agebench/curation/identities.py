"""Which face in a picture is its subject's, judged by the subject's other pictures; and how a subject's ages agree.

A subject's pictures show the subject and other people. The face that recurs from picture to picture is taken as the
subject's. Three things could mislead. A photograph saved twice recurs without being evidence, so copies count once. A
partner recurs too, so the weight of a picture is shared among its faces, and a close second leaves the subject
undecided. Single-linkage chaining would merge different people, so a cluster is the set of faces around one centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.curation.settings import Request
from agebench.manifest.renewal import Derived
from agebench.manifest.store import open_manifest, query

MIN_PICTURES = 3  # different photographs that must show a face before it counts as the subject's
SAME_SHOT = 0.3  # of the same-person distance: closer faces come from one photograph that was saved twice
RIVAL = 0.8  # a second face with this share of the first one's support leaves the subject undecided
STRANGERS = 2000  # other subjects' faces that show which vectors are uninformative
FEW_STRANGERS = 200  # with fewer, no vector is called uninformative
NOBODY = 0.01  # share of them that may be near a face before it is uninformative
TAKEN_FOR = 0.005  # share of them that may lie within a cluster's radius
ROUNDS = 10  # of updating the centre and its members; it converges in two or three
SCHEMA = pl.Schema(
    {
        "record_id": pl.Int32,
        "identity_face_no": pl.Int32,
        "identity_distance": pl.Float64,
        "identity_bound": pl.Float64,
        "identity_pictures": pl.Int32,
        "identity_rival": pl.Float64,
        "identity_faces": pl.Int32,
    }
)


def find_identities(faces: pl.DataFrame, *, same_person: float, min_pictures: int = MIN_PICTURES) -> pl.DataFrame:
    """For every record with faces and a subject, the face that matches the subject's other pictures.

    faces: one row per face of useful size: `subject_id, record_id, sha256, face_no, vector` (a list or array of one
    length, to be compared by Euclidean distance). same_person: the distance below which two vectors count as one
    person's. Rows without a subject or vector are left out.

    Other subjects' faces, up to 2,000 drawn by their hash, show which vectors are uninformative: a face that is near
    more than 1 % of them (blurred, in profile, a small child) is ignored, and a cluster's radius includes at most 0.5 %
    of them. With fewer than 200 of them, only `same_person` bounds the radius.

    Returns one row per record, sorted by `record_id`: `identity_face_no`, the face nearest to the centre of the
    subject's cluster if it is nearer than `identity_bound`, else NULL; `identity_distance`, the distance of the
    record's nearest face from the centre of the cluster's faces in *other* photographs, even if it is too far;
    `identity_bound`, the radius of the cluster; `identity_pictures`, the number of different photographs that show it;
    `identity_rival`, the support of the second recurring face as a share of the first one's, up to 1; `identity_faces`,
    the number of the record's informative faces. If no face recurs in `min_pictures` photographs, or two recur about
    equally often, the pictures are 0, and the face, distance and bound are NULL.

    Records with the same content count as one picture and get the same result. Memory use is that of one subject.
    """
    used = faces.filter(pl.col("subject_id").is_not_null() & pl.col("vector").is_not_null())
    used = used.select("subject_id", "record_id", "sha256", "face_no", "vector").sort(
        "subject_id", "record_id", "face_no"
    )
    if used.is_empty():
        return pl.DataFrame(schema=SCHEMA)
    once = used.unique(["subject_id", "sha256", "face_no"], keep="first", maintain_order=True)
    vectors = vector_matrix(once["vector"])
    picture = once["sha256"].rank("dense").to_numpy().astype(np.int64)
    subject = once["subject_id"].rle_id().to_numpy()
    drawn = once.with_row_index().sort("sha256", "face_no", "subject_id").head(STRANGERS)["index"].to_numpy()
    starts = np.flatnonzero(np.diff(subject, prepend=-1))
    answers = []
    for a, b in zip(starts, [*starts[1:], len(once)], strict=True):
        others = drawn[(subject[drawn] != subject[a]) & ~np.isin(picture[drawn], picture[a:b])]
        strangers = vectors[others] if len(others) >= FEW_STRANGERS else vectors[:0]
        answers.append(_subject(vectors[a:b], picture[a:b], strangers, same_person, min_pictures))
    found = pl.concat([once.select("subject_id", "sha256", "face_no"), pl.concat(answers)], how="horizontal")
    nearest = found.group_by("subject_id", "sha256").agg(
        pl.col("face_no").sort_by("distance", "face_no", nulls_last=True).first(),
        pl.col("distance").min(),
        pl.col("bound", "pictures", "rival").first(),
        pl.col("telling").sum(),
    )
    records = used.select("subject_id", "sha256", "record_id").unique()
    return (
        records.join(nearest, on=["subject_id", "sha256"])
        .select(
            "record_id",
            identity_face_no=pl.when(pl.col("distance") < pl.col("bound")).then("face_no"),
            identity_distance="distance",
            identity_bound="bound",
            identity_pictures="pictures",
            identity_rival="rival",
            identity_faces="telling",
        )
        .cast(SCHEMA)
        .sort("record_id")
    )


def vector_matrix(vectors: pl.Series) -> NDArray[np.float32]:
    """(n, D) of a column of lists or arrays."""
    width = len(vectors[0])
    return vectors.explode().to_numpy().astype(np.float32, copy=False).reshape(len(vectors), width)


def _subject(
    vectors: NDArray[np.float32],
    picture: NDArray[np.int64],
    strangers: NDArray[np.float32],
    same_person: float,
    min_pictures: int,
) -> pl.DataFrame:
    """The result for each of one subject's n faces; one row each. vectors: (n, D); picture: (n,) the picture of each
    face; strangers: (m, D), none if there are too few."""
    n = len(vectors)
    telling = np.ones(n, bool)
    if len(strangers):
        telling = (pair_distances(vectors, strangers) < same_person).mean(axis=1) <= NOBODY
    _, picture, shown = np.unique(picture, return_inverse=True, return_counts=True)

    def answer(
        distance: NDArray[np.float64] | None = None,
        bound: float | None = None,
        pictures: int = 0,
        rival: float | None = None,
    ) -> pl.DataFrame:
        return pl.DataFrame({"telling": telling}).select(
            pl.col("telling").cast(pl.Int32),
            distance=pl.lit(None, pl.Float64) if distance is None else pl.when("telling").then(pl.Series(distance)),
            bound=pl.lit(bound, pl.Float64),
            pictures=pl.lit(pictures, pl.Int32),
            rival=pl.lit(rival, pl.Float64),
        )

    if len(np.unique(picture[telling])) < min_pictures:
        return answer()
    apart = pair_distances(vectors, vectors)
    shot = _shots(apart < SAME_SHOT * same_person, picture)
    faces = _Faces(vectors, apart, picture, shot, 1 / shown[picture], strangers, same_person)
    first = faces.cluster(telling)
    if len(np.unique(shot[first])) < min_pictures:
        return answer()
    distance = faces.distance_to(first)
    second = faces.cluster(telling & (distance >= same_person))
    rival = faces.support(second) / faces.support(first)
    if rival > RIVAL:
        return answer(rival=min(rival, 1.0))
    return answer(distance, faces.reach(faces.middle(first)), len(np.unique(shot[first])), rival)


@dataclass(frozen=True)
class _Faces:
    """One subject's n faces. picture, shot: the picture and the photograph of each face, numbered from 0; say: 1 / the
    number of faces in its picture. A cluster is an (n,) mask with at most one face per picture."""

    vectors: NDArray[np.float32]  # (n, D)
    apart: NDArray[np.float32]  # (n, n)
    picture: NDArray[np.int64]
    shot: NDArray[np.int64]
    say: NDArray[np.float64]
    strangers: NDArray[np.float32]  # (m, D)
    same_person: float

    def cluster(self, allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The faces around one centre, starting from the face with the most support."""
        if not allowed.any():
            return allowed
        order = np.argsort(self.shot, kind="stable")
        starts = np.flatnonzero(np.diff(self.shot[order], prepend=-1))
        near = (self.apart < self.same_person) & allowed
        say = np.maximum.reduceat(np.where(near, self.say, 0).astype(np.float32)[:, order], starts, axis=1)
        seed = int(np.argmax(np.where(allowed, say.sum(axis=1), -1)))
        members = self._nearest(np.where(allowed, self.apart[seed], np.inf), self.same_person)
        for _ in range(ROUNDS):
            middle = self.middle(members)
            distance = pair_distances(self.vectors, middle[None])[:, 0]
            found = self._nearest(np.where(allowed, distance, np.inf), self.reach(middle))
            if not found.any() or (found == members).all():
                break
            members = found
        return members

    def middle(self, members: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(D,) the mean over a cluster's photographs."""
        total, count = self._sums(members)
        return np.asarray(total.sum(axis=0) / max(int(count.sum()), 1), np.float32)

    def reach(self, middle: NDArray[np.float32]) -> float:
        """The largest distance from a centre at which a face still counts as the person's."""
        if len(self.strangers) == 0:
            return self.same_person
        return min(self.same_person, float(np.quantile(pair_distances(middle[None], self.strangers), TAKEN_FOR)))

    def support(self, members: NDArray[np.bool_]) -> float:
        """The number of photographs in a cluster, each weighted by one over the number of its faces."""
        best = np.zeros(self.shot.max() + 1)
        np.maximum.at(best, self.shot[members], self.say[members])
        return float(best.sum())

    def distance_to(self, members: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n,) distances to the centre of the cluster's faces in other photographs."""
        total, count = self._sums(members)
        others = np.maximum(count.sum() - count[self.shot], 1)[:, None]
        middle = (total.sum(axis=0) - total[self.shot]) / others
        return np.asarray(np.sqrt(((self.vectors - middle) ** 2).sum(axis=1)), np.float64)

    def _nearest(self, distance: NDArray[np.floating], bound: float) -> NDArray[np.bool_]:
        """The nearest face in each picture, if it is nearer than `bound`."""
        order = np.lexsort((distance, self.picture))
        first = order[np.flatnonzero(np.diff(self.picture[order], prepend=-1))]
        chosen = np.zeros(len(distance), bool)
        chosen[first] = distance[first] < bound
        return chosen

    def _sums(self, members: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """(shots, D) the mean member of each photograph, 0 if there is none, and (shots,) whether there is one."""
        shots = int(self.shot.max()) + 1
        total, count = np.zeros((shots, self.vectors.shape[1])), np.bincount(self.shot[members], minlength=shots)
        np.add.at(total, self.shot[members], self.vectors[members])
        return total / np.maximum(count, 1)[:, None], np.minimum(count, 1)


def pair_distances(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float32]:
    """Euclidean distances of all pairs: (N, M) from (N, D) and (M, D)."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None] - 2 * (one @ other.T)
    return np.sqrt(np.maximum(squares, 0)).astype(np.float32)


def _shots(same: NDArray[np.bool_], picture: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) the photograph of each face; pictures whose faces are almost equal are one photograph. same: (n, n)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = (picture[side] for side in np.nonzero(same))
    size = int(picture.max()) + 1
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(size, size))
    _, shot = connected_components(graph, directed=False)
    return np.asarray(shot[picture], np.int64)


def age_offsets(estimates: pl.DataFrame) -> pl.DataFrame:
    """The offset between estimated and claimed ages of each subject, and of each record from its subject's offset.

    estimates: one row per record, for the subject's face: `subject_id, record_id, sha256, age` (claimed) and
    `estimated`, both in years. Rows with a NULL or NaN are left out. If all pictures of a subject are off by about the
    same number of years, the birth date is wrong; if one is off, it shows someone else or another year.

    Returns one row per record, sorted by `record_id`: `subject_age_offset`, the median of estimated − claimed over the
    subject's different pictures (a picture of several records counts once, with its median); `subject_age_spread`, the
    median absolute deviation from it; `subject_age_pictures`, the number of pictures; `age_offset_residual`, the
    record's own estimated − claimed minus the subject's. All in years. With one picture the residual is 0 and says
    nothing.
    """
    numbers = pl.col("age", "estimated").cast(pl.Float64)
    used = (
        estimates.filter(pl.col("subject_id").is_not_null())
        .with_columns(numbers.fill_nan(None))
        .drop_nulls(["age", "estimated"])
        .with_columns(offset=pl.col("estimated") - pl.col("age"))
    )
    pictures = used.group_by("subject_id", "sha256").agg(pl.col("offset").median())
    subjects = pictures.group_by("subject_id").agg(
        subject_age_offset=pl.col("offset").median(),
        subject_age_spread=(pl.col("offset") - pl.col("offset").median()).abs().median(),
        subject_age_pictures=pl.len().cast(pl.Int32),
    )
    return (
        used.join(subjects, on="subject_id")
        .with_columns(age_offset_residual=pl.col("offset") - pl.col("subject_age_offset"))
        .select("record_id", "subject_age_offset", "subject_age_spread", "subject_age_pictures", "age_offset_residual")
        .sort("record_id")
    )


def derive_identities(manifest: Path, request: Request) -> Derived | None:
    """The subject's face in each record, for subjects recognised in several pictures and pictures with an informative
    face; None if no faces are embedded."""
    embedder = request.observers.embedder
    if embedder is None:
        return None
    with open_manifest(manifest) as con:
        faces = embedding_rows(con, embedder.name)
    found = find_identities(faces, same_person=embedder.same_person)
    rows = found.filter((pl.col("identity_pictures") > 0) & (pl.col("identity_faces") > 0)).select(
        "record_id", "identity_face_no", "identity_distance", "identity_bound", "identity_pictures",
        identity_face=pl.col("identity_face_no").is_not_null(),
    )  # fmt: skip
    return Derived({"identity": rows})


def embedding_rows(con: duckdb.DuckDBPyConnection, model: str) -> pl.DataFrame:
    """Every embedded face of every record that names its subject: subject_id, record_id, sha256, face_no, size
    (pixels), vector."""
    return query(
        con,
        """SELECT subject_id, record_id, sha256, face_no, sqrt(f.w * f.h) AS size, vector
           FROM record JOIN content USING (part, path) JOIN face_in_force f USING (sha256)
           JOIN embedding e USING (sha256, face_no)
           WHERE subject_id IS NOT NULL AND e.model = ? ORDER BY record_id, face_no""",
        [model],
    )
