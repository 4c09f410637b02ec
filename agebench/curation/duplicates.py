"""Near duplicates: the same photograph rescaled, recompressed, brighter, darker or slightly cropped.

Candidates are perceptual hashes a few bits apart, of which one may be of the inner part of its picture; a second hash
confirms them. A group is a picture with its direct duplicates, because similarity is not transitive. A photograph is
all pictures that such pairs connect, because neither picture of a pair may be learnt from if the other is held out.

Two pictures whose hashes differ in at most `FOUND` of 64 bits are always compared. Up to `FAR` bits are accepted, but
such a pair is found only where the differing bits happen to leave two parts of the hash equal: of bits that differ at
random about 89 % of the pairs that are 5 bits apart and 71 % of those that are 6. Two exceptions bound the work: in a
crowd (over `CROWD` hashes that share two parts) a hash is compared with its neighbours only, and of more than `MANY`
pictures with one and the same hash only the best is compared with other hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.manifest.renewal import Derived
from agebench.manifest.store import open_manifest, query

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
FOUND = 4  # bits: pairs of hashes so far apart are all found
FAR = 6  # bits: pairs of hashes further apart are never taken for copies
UNLIKE = 0.25  # share of the edges of either picture that the other may lack
FLAT = 20  # a picture with fewer edges of 241 has too little in it to be compared
PARTS = FOUND + 2  # of a hash: FOUND differing bits leave at least two parts equal, by which the pair is found
CROWD = 1000  # hashes with the same two parts: beyond that a hash is compared with its neighbours in order only
NEIGHBOURS = 8
SAMPLE = 64  # every 64th hash is counted to find crowds
MANY = 64  # up to this many pictures with the same hash are compared all with all, more with the best one only
NEAR = f"bit_count(xor(s.h, k.h)) <= {FAR} AND s.look <> k.look"
HASHES = ("sha256", "phash", "inset_phash", "edges")
CROWDS = f"""SELECT h & $mask::BIGINT AS key FROM sample
    GROUP BY key, inset = 0 HAVING count(*) > {CROWD // SAMPLE}"""
OUTSIDE = "CREATE OR REPLACE TABLE outside AS FROM seen ANTI JOIN crowd ON seen.h & $mask::BIGINT = crowd.key"
IN_CROWDS = f"""
    WITH member AS MATERIALIZED (
        SELECT *, h & $mask::BIGINT AS key, row_number() OVER (PARTITION BY key ORDER BY h, inset, picture) AS place
        FROM seen WHERE h & $mask::BIGINT IN (SELECT key FROM crowd)),
    shifted AS MATERIALIZED (
        SELECT * REPLACE (place + step AS place)
        FROM member CROSS JOIN (SELECT unnest(range(-{NEIGHBOURS}, {NEIGHBOURS} + 1)) AS step))
    SELECT s.picture, s.inset, k.look
    FROM shifted s JOIN (FROM member WHERE inset = 0) k ON k.key = s.key AND k.place = s.place AND {NEAR}"""


# Centred pictures have much in common: frequencies that are even across or downwards, and low ones. The 64 frequencies,
# most common first, are dealt out back and forth, so that each part is equally informative: of 6,000 aligned faces, a
# fifth as many share two parts.
ALIKE = sorted(range(64), key=lambda k: (k // 8 % 2 + k % 2, k % 2, k // 8 + k % 8))
PART_OF = {63 - k: min(n % (2 * PARTS), 2 * PARTS - 1 - n % (2 * PARTS)) for n, k in enumerate(ALIKE)}  # bit → part
MASKS = [
    int(np.uint64(sum(1 << bit for bit in range(64) if PART_OF[bit] in chosen)).view(np.int64))
    for chosen in combinations(range(PARTS), 2)
]
SCHEMA = {
    "record_id": pl.Int32, "near_group": pl.Int32, "near_copies": pl.Int32, "near_rank": pl.Int32, "near_of": pl.String,
    "near_age_gap": pl.Int32,
}  # fmt: skip
PHOTOGRAPHS = {"record_id": pl.Int32, "near_photograph": pl.Int32}


def near_duplicates(records: pl.DataFrame, *, tolerance: int = 2, threads: int | None = None) -> pl.DataFrame:
    """Groups of near duplicates: one row per record that is in a group, by `record_id`.

    records: record_id, part, path, sha256, bytes, age, width, height, sharpness, phash, inset_phash (list of 4), edges
    (list of 20, see `measures.copy_hashes`); records without hashes and flat pictures are left out.
    Records with the same bytes count as one picture, in near_copies and in near_rank.

    near_group: the smallest record_id of the group. near_copies: its pictures. near_rank: 1 for the copy that stays:
    one with an age in 0..99, then the age that most of the group agree with (within `tolerance` years), then the larger
    picture (pixels times bytes of the file, because an enlarged copy has more pixels but fewer bytes), the sharper one,
    the first. near_of: `part/path` of the copy that stays. near_age_gap: years between the lowest and the highest
    claimed age in the group, of ages in 0..99 (NULL if there is none). threads: for the search; all cores by default.
    """
    return groups_and_photographs(records, tolerance=tolerance, threads=threads)[0]


def groups_and_photographs(
    records: pl.DataFrame, *, tolerance: int = 2, threads: int | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(groups as `near_duplicates` returns them, photographs by `record_id`) of the same records.

    near_photograph: the smallest record_id of all records that pairs of near duplicates connect, over any number of
    steps; records of a picture without a near duplicate are left out.
    """
    hashed = _with_hashes(records)
    nothing = pl.DataFrame(schema=SCHEMA), pl.DataFrame(schema=PHOTOGRAPHS)
    if hashed.is_empty():
        return nothing
    pictures, looks, hashes, pairs = _near_pairs(hashed, _pictures(hashed), threads)
    if not len(pairs):
        return nothing
    leader = _stars(len(pictures), pairs[:, 0], pairs[:, 1])
    leader = _once_more(leader, looks.best[looks.look], hashes)
    return _table(records, hashed, pictures, leader, hashes, tolerance), _photographs(records, pictures, pairs, leader)


def copies_among(pictures: pl.DataFrame, known: pl.DataFrame) -> pl.Series:
    """Whether each picture shows the same photograph as one of `known`: `copy`, in the order of `pictures`.

    Both frames: sha256, phash, inset_phash, edges. Pictures without hashes and flat pictures are copies of nothing.
    """
    both = pl.concat(
        [
            _with_hashes(frame).select(*HASHES, known=pl.lit(of_known))
            for frame, of_known in ((known, True), (pictures, False))
        ]
    )
    if both.is_empty():
        return pl.repeat(False, len(pictures), dtype=pl.Boolean, eager=True).alias("copy")
    # the known ones first: of many pictures with the very same hash all are compared with the first one only
    rows = both.select(row=pl.int_range(pl.len()))
    rows, _, _, pairs = _near_pairs(both, rows, None)
    of_known = both["known"].to_numpy()[rows["row"].to_numpy()]
    one, other = pairs[:, 0], pairs[:, 1]
    mixed = of_known[one] != of_known[other]
    places = np.where(of_known[one], other, one)[mixed]
    found = both[rows["row"].to_numpy()[places]]["sha256"].unique()
    return pictures["sha256"].is_in(found.implode()).fill_null(False).alias("copy")


def _with_hashes(records: pl.DataFrame) -> pl.DataFrame:
    if not records.select(pl.any_horizontal(pl.col(*HASHES).is_null().any())).item():
        return records
    return records.filter(pl.all_horizontal(pl.col(*HASHES).is_not_null()))


def _near_pairs(
    hashed: pl.DataFrame, pictures: pl.DataFrame, threads: int | None
) -> tuple[pl.DataFrame, _HashGroups, _Hashes, Ints]:
    """(pictures that are not flat, their groups of equal hashes, their hashes, (a, b, inset of a) of near copies).

    hashed: rows with all hashes, at least one. pictures: `row` of each picture in it, the best first.
    """
    edges = _words(hashed["edges"], len(hashed)).reshape(len(hashed), -1, 4)
    uneven = np.bitwise_count(edges[:, 0]).sum(1, dtype=np.int64) >= FLAT
    pictures = pictures.filter(pl.Series(uneven)[pictures["row"]])
    row = pictures["row"].to_numpy()
    phash, inside = hashed["phash"].to_numpy(), _words(hashed["inset_phash"], len(hashed))
    looks, hashes = _HashGroups.of(phash[row]), _Hashes(phash, inside, edges, row)
    if len(pictures) < 2:
        return pictures, looks, hashes, np.zeros((0, 3), np.int64)
    pairs = np.concatenate([_same_look(looks), _expand(_search(looks, inside[row], threads), looks)])
    return pictures, looks, hashes, pairs[_confirmed(hashes, pairs)]


@dataclass(frozen=True)
class _HashGroups:
    """Pictures (n, the best first) by look; those with the same hash have one look.

    look: (n,) of each picture. order: (n,) pictures look by look, the best of each first; start, count: where a look
    begins there, and how many it has. best, hash: of each look.
    """

    look: Ints
    order: Ints
    start: Ints
    count: Ints
    best: Ints
    hash: Words

    @classmethod
    def of(cls, phash: Words) -> _HashGroups:
        order = np.argsort(phash, kind="stable")
        ordered = phash[order]
        begins = np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(phash)]
        start = np.flatnonzero(begins)
        look = np.empty(len(phash), np.int64)
        look[order] = np.cumsum(begins) - 1
        return cls(look, order, start, np.diff(start, append=len(phash)), order[start], ordered[start])


class _Hashes:
    """Both hashes of pictures. phash: (records,) and inside: (records, insets - 1) words; edges: (records, insets, 4)
    words; row: of each picture, its record in them. Inset 0 is the whole picture."""

    def __init__(self, phash: Words, inside: Words, edges: Words, row: Ints) -> None:
        self.first, self.second, self.row = [phash, *inside.T], edges, row

    def near(self, one: Ints, inset: int, other: Ints) -> NDArray[np.bool_]:
        """Whether the perceptual hash of `one` inside `inset` is near that of the whole of `other`."""
        apart = np.bitwise_count(self.first[inset][self.row[one]] ^ self.first[0][self.row[other]])
        return np.asarray(apart <= FAR)

    def agree(self, one: Ints, inset: int | Ints, other: Ints) -> NDArray[np.bool_]:
        """Whether `one` inside `inset` resembles the whole of `other`, by the Jaccard distance of their edges."""
        a, b = self.second[self.row[one], inset], self.second[self.row[other], 0]
        either = np.bitwise_count(a | b).sum(1, dtype=np.int64)
        unlike = np.bitwise_count(a ^ b).sum(1, dtype=np.int64) / np.maximum(either, FLAT)
        return np.asarray(unlike <= UNLIKE)

    def duplicates(self, one: Ints, other: Ints) -> NDArray[np.bool_]:
        """Whether either, inside any inset, matches the whole of the other, by both hashes."""
        found = np.zeros(len(one), bool)
        for inset in range(len(self.first)):
            for a, b in ((one, other), (other, one)):
                found |= self.near(a, inset, b) & self.agree(a, inset, b)
        return found


def _pictures(hashed: pl.DataFrame) -> pl.DataFrame:
    """One row per content, the best first (an age, pixels times bytes, sharpness): sha256, row of its first record."""
    size = (pl.col("width").cast(pl.Float64) * pl.col("height") * pl.col("bytes")).fill_null(0)
    plausible = pl.col("age").is_between(0, 99).fill_null(False)
    facts = hashed.select(
        "record_id", "sha256", "sharpness", row=pl.int_range(pl.len()),
        size=pl.when(plausible).then(size).otherwise(-1 / (size + 1)),  # below all plausible ages, in the same order
    ).sort("record_id")  # fmt: skip
    for key in ("sharpness", "size"):  # the last key first: several stable sorts by one key take half the time
        facts = facts.sort(key, descending=True, nulls_last=True, maintain_order=True)
    return facts.select("row", "sha256").unique("sha256", keep="first", maintain_order=True)


def _words(lists: pl.Series, n: int) -> Words:
    """Lists of equally many words as (n, words)."""
    return np.asarray(lists.explode().to_numpy(), dtype=np.uint64).reshape(n, -1)


def _same_look(looks: _HashGroups) -> Ints:
    """Pairs (a, b, 0) of pictures with one look: all pairs, or in a large look each picture with the best."""
    look, order, count = looks.look, looks.order, np.repeat(looks.count, looks.count)
    few, many = order[(count > 1) & (count <= MANY)], order[count > MANY]
    pairs = [np.stack([looks.best[look[many]], many], 1)]
    for step in range(1, min(MANY, len(few))):
        same = look[few[step:]] == look[few[:-step]]
        if not same.any():
            break
        pairs.append(np.stack([few[:-step][same], few[step:][same]], 1))
    found = np.concatenate(pairs)
    found = found[found[:, 0] != found[:, 1]]
    return np.column_stack([found, np.zeros(len(found), np.int64)])


def _search(looks: _HashGroups, inside: Words, threads: int | None) -> Ints:
    """Pairs (picture, inset, look) whose hashes are near. Inset 0 is the whole picture, paired only with later looks.

    Equal hashes are searched once. A crowd (many hashes with the same two parts) is searched in order of its hashes.
    """
    known = pl.DataFrame({"look": np.arange(len(looks.best), dtype=np.int32), "h": looks.hash.view(np.int64)})
    whole = known.select("look", "h", picture=pl.Series(looks.best.astype(np.int32)), inset=pl.lit(0, pl.UInt8))
    insets = pl.DataFrame(
        inside.T.view(np.int64), schema=[f"h{n}" for n in range(1, inside.shape[1] + 1)], orient="col"
    )
    insets = insets.with_columns(
        look=pl.Series(looks.look.astype(np.int32)), picture=pl.int_range(pl.len(), dtype=pl.Int32)
    )
    searched = [
        insets.lazy()
        .filter(pl.col(f"h{n}").is_first_distinct())
        .select("look", pl.col(f"h{n}").alias("h"), "picture", inset=pl.lit(n, pl.UInt8))
        for n in range(1, inside.shape[1] + 1)
    ]
    with duckdb.connect(config={"threads": threads} if threads else {}) as con:
        con.register("hashes", known.to_arrow())  # signed: DuckDB counts their bits faster
        con.register("seen_hashes", pl.concat([whole, *pl.collect_all(searched)]).to_arrow())
        con.execute("CREATE TABLE known AS SELECT * FROM hashes; CREATE TABLE seen AS SELECT * FROM seen_hashes")
        con.execute(f"CREATE TABLE sample AS SELECT inset, h FROM seen WHERE picture % {SAMPLE} = 0")
        con.execute("CREATE TABLE found (picture INTEGER, inset UTINYINT, look INTEGER)")
        con.begin()  # one transaction for all: commits take a tenth of the time
        for mask in MASKS:
            crowds = con.execute(f"SELECT DISTINCT key FROM ({CROWDS})", {"mask": mask}).fetchnumpy()["key"]
            con.register("crowd", pl.DataFrame({"key": crowds}).to_arrow())
            if len(crowds):
                con.execute(f"INSERT INTO found {IN_CROWDS}", {"mask": mask})
                con.execute(
                    OUTSIDE, {"mask": mask}
                )  # a table, because in one statement DuckDB joins first and filters afterwards
            outside = "outside" if len(crowds) else "seen"
            con.execute(
                f"INSERT INTO found SELECT s.picture, s.inset, k.look FROM {outside} s JOIN known k "
                f"ON s.h & $mask::BIGINT = k.h & $mask::BIGINT AND {NEAR}",
                {"mask": mask},
            )
            con.unregister("crowd")
        found = con.execute("SELECT DISTINCT picture, inset, look FROM found ORDER BY ALL").fetchnumpy()
    pairs = np.stack([np.asarray(found[name], np.int64) for name in ("picture", "inset", "look")], 1)
    return pairs[
        (pairs[:, 1] > 0) | (looks.look[pairs[:, 0]] < pairs[:, 2])
    ]  # whole pictures are found in both directions


def _expand(found: Ints, looks: _HashGroups) -> Ints:
    """Pairs (a, b, inset of a) from (picture, inset, look): all pictures of small looks, the best one of large
    looks."""

    def spread(pairs: Ints, column: int) -> Ints:
        """Every pair, repeated for each picture of the look in `column`."""
        count = looks.count[pairs[:, column]]
        times = np.where(count > MANY, 1, count)
        again = np.repeat(pairs, times, axis=0)
        nth = np.arange(len(again)) - np.repeat(np.cumsum(times) - times, times)
        again[:, column] = looks.order[looks.start[again[:, column]] + nth]
        return again

    whole = found[found[:, 1] == 0][:, [0, 2, 1]]
    whole[:, 0] = looks.look[whole[:, 0]]
    return np.concatenate([spread(spread(whole, 0), 1), spread(found[found[:, 1] > 0][:, [0, 2, 1]], 1)])


def _confirmed(hashes: _Hashes, pairs: Ints) -> NDArray[np.bool_]:
    """Whether the second hashes agree: pairs (a, b, inset of a)."""
    agree = np.zeros(len(pairs), bool)
    for begin in range(0, len(pairs), 1_000_000):
        a, b, inset = pairs[begin : begin + 1_000_000].T
        agree[begin : begin + len(a)] = hashes.agree(a, inset, b)
    return agree


def _stars(n: int, one: Ints, other: Ints) -> Ints:
    """The leader of each picture, (n,): itself, or one of its duplicates that has no other leader.

    Pictures with the most duplicates lead; among equals, the better one (pictures are numbered by quality, 0 is the
    best). Every member is paired with its leader, so A~B~C does not join A and C.
    """
    pairs = np.unique(np.stack([np.minimum(one, other), np.maximum(one, other)], 1), axis=0)
    one, other = np.concatenate([pairs, pairs[:, ::-1]]).T
    order = np.lexsort((np.arange(n), -np.bincount(one, minlength=n)))
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    one, other = place[one], place[other]
    leader = np.full(n, -1, np.int64)  # by position, until the end
    while len(one):
        beside, led = np.full(n, n, np.int64), np.full(n, n, np.int64)
        np.minimum.at(beside, one, other)
        leads = np.unique(one[one < beside[one]])
        leader[leads] = leads
        follows = (leader[other] == other) & (leader[one] < 0)
        np.minimum.at(led, one[follows], other[follows])
        members = np.flatnonzero(led < n)
        leader[members] = led[members]
        undecided = (leader[one] < 0) & (leader[other] < 0)
        one, other = one[undecided], other[undecided]
    leader = np.where(leader < 0, np.arange(n), leader)
    return order[leader][place]


def _once_more(leader: Ints, best_of_look: Ints, hashes: _Hashes) -> Ints:
    """Pictures of a large look follow the leader of its best picture if they resemble that leader themselves."""
    n = len(leader)
    alone = np.flatnonzero((leader == np.arange(n)) & (np.bincount(leader, minlength=n) == 1))
    chief = leader[best_of_look[alone]]
    alone, chief = alone[chief != alone], chief[chief != alone]
    joins = hashes.duplicates(alone, chief)
    leader = leader.copy()
    leader[alone[joins]] = chief[joins]
    return leader


def _photographs(records: pl.DataFrame, pictures: pl.DataFrame, pairs: Ints, leader: Ints) -> pl.DataFrame:
    """The connected components over pairs and groups, as `groups_and_photographs` returns them."""
    from scipy.sparse import coo_array  # a sixth of a second that judging again does not need
    from scipy.sparse.csgraph import connected_components

    n = len(leader)
    one = np.concatenate([pairs[:, 0], np.arange(n)])
    other = np.concatenate([pairs[:, 1], leader])
    _, component = connected_components(coo_array((np.ones(len(one), np.int8), (one, other)), shape=(n, n)), False)
    joined = np.bincount(component)[component] > 1
    members = pictures.select("sha256", component=pl.Series(component)).filter(pl.Series(joined))
    return (
        records.select("record_id", "sha256")
        .join(members, on="sha256")
        .select("record_id", near_photograph=pl.col("record_id").min().over("component"))
        .cast(PHOTOGRAPHS)  # type: ignore[arg-type]
        .sort("record_id")
    )


def _table(
    records: pl.DataFrame,
    hashed: pl.DataFrame,
    pictures: pl.DataFrame,
    leader: Ints,
    hashes: _Hashes,
    tolerance: int,
) -> pl.DataFrame:
    """The groups as `near_duplicates` returns them."""
    grouped = np.bincount(leader, minlength=len(leader))[leader] > 1
    members = pictures.with_columns(pl.Series("leader", leader), quality=pl.int_range(pl.len()))
    members = members.filter(pl.Series(grouped))
    members = members.hstack(hashed.select("age", "part", "path")[members["row"].to_numpy()]).with_columns(
        near_of=pl.format("{}/{}", "part", "path"), known=pl.when(pl.col("age").is_between(0, 99)).then(pl.col("age"))
    )
    claims = members.drop_nulls("known").group_by("leader", "known").agg(claims=pl.len())
    agree = (
        claims.join(claims, on="leader", suffix="_beside")
        .filter((pl.col("known") - pl.col("known_beside")).abs() <= tolerance)
        .group_by("leader", "known")
        .agg(agree=pl.col("claims_beside").sum().cast(pl.Int64))
    )
    members = members.join(agree, on=["leader", "known"], how="left").with_columns(pl.col("agree").fill_null(0))
    # a picture other than the leader stays only if all of the group are its own duplicates too
    first = members.sort(-pl.col("agree"), "quality").group_by("leader").agg(first=pl.col("quality").first())
    members = members.join(first, on="leader")
    one, other = members["quality"].to_numpy(), members["first"].to_numpy()
    members = members.with_columns(like=pl.Series(hashes.duplicates(one, other), dtype=pl.Boolean)).with_columns(
        fits=pl.col("like").all().over("leader")
    )
    members = members.with_columns(stays=pl.when("fits").then("first").otherwise("leader") == pl.col("quality")).sort(
        "leader", ~pl.col("stays"), -pl.col("agree"), "quality"
    )
    members = members.with_columns(
        near_rank=pl.int_range(1, pl.len() + 1).over("leader").cast(pl.Int32),
        near_copies=pl.len().over("leader").cast(pl.Int32),
        near_of=pl.col("near_of").first().over("leader"),
    )
    held = records.select("record_id", "sha256", "age").join(
        members.select("sha256", "leader", "near_rank", "near_copies", "near_of"), on="sha256"
    )
    known = pl.col("age").filter(pl.col("age").is_between(0, 99))
    return (
        held.with_columns(
            near_group=pl.col("record_id").min().over("leader"),
            near_age_gap=(known.max() - known.min()).over("leader"),
        )
        .select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
        .sort("record_id")
    )


def derive_copies(manifest: Path, request: object) -> Derived:
    """Which records of a manifest show the same photograph."""
    with open_manifest(manifest) as con:
        pictures = picture_rows(con)
    groups, photographs = groups_and_photographs(pictures)
    return Derived({"near_copy": groups, "near_photograph": photographs})


def picture_rows(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Every record whose picture was measured, in order: record_id, part, path, age, sha256, bytes and the
    columns of the table `image`."""
    return query(
        con,
        "SELECT record_id, part, path, age, bytes, image.* FROM record JOIN content USING (part, path) "
        "JOIN image USING (sha256) ORDER BY record_id",
    )
