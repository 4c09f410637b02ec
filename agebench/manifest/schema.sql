-- The manifest: one DuckDB file for one dataset. People open it with DuckDB, pandas or polars: the views are public.
-- No primary keys: DuckDB's index slows bulk writes and every write here is a set operation that keeps keys unique.

CREATE TABLE IF NOT EXISTS meta (key VARCHAR NOT NULL, value VARCHAR NOT NULL);

-- One row per labelled picture, numbered from 0 in the release's own order.
CREATE TABLE IF NOT EXISTS record (
    record_id INTEGER NOT NULL, part VARCHAR NOT NULL, path VARCHAR NOT NULL,
    subject_id VARCHAR, name VARCHAR, gender VARCHAR, race VARCHAR, dob DATE, dob_day BIGINT, photo_year INTEGER, age INTEGER,
    face_score DOUBLE, second_face_score DOUBLE,
    box_x DOUBLE, box_y DOUBLE, box_w DOUBLE, box_h DOUBLE
);

-- One row per file that was looked at; `mtime` in nanoseconds since 1970; `error` is one of agebench.pictures.FAULTS.
CREATE TABLE IF NOT EXISTS content (
    part VARCHAR NOT NULL, path VARCHAR NOT NULL, sha256 VARCHAR, bytes BIGINT, mtime BIGINT, error VARCHAR
);

-- Facts of pixels, keyed by content so that a picture is never measured twice.
CREATE TABLE IF NOT EXISTS image (
    sha256 VARCHAR NOT NULL, format VARCHAR, width INTEGER, height INTEGER, channels INTEGER, grayscale BOOLEAN,
    phash UBIGINT, sharpness DOUBLE, brightness DOUBLE, contrast DOUBLE,
    inset_phash UBIGINT[], edges UBIGINT[] -- what near duplicates are found and confirmed by
);
CREATE TABLE IF NOT EXISTS face (
    sha256 VARCHAR NOT NULL, detector VARCHAR NOT NULL, face_no INTEGER NOT NULL,
    x DOUBLE, y DOUBLE, w DOUBLE, h DOUBLE, score DOUBLE, sharpness DOUBLE,
    landmarks FLOAT[] -- ten numbers; DuckDB 2.0 reads garbage where a LEFT JOIN leaves a FLOAT[10] empty
);
CREATE TABLE IF NOT EXISTS age_estimate (
    sha256 VARCHAR NOT NULL, face_no INTEGER NOT NULL, estimator VARCHAR NOT NULL, age DOUBLE, spread DOUBLE,
    probabilities FLOAT[] -- of the ages 0, 1, 2, … where the estimator gives them
);
CREATE TABLE IF NOT EXISTS embedding (sha256 VARCHAR NOT NULL, face_no INTEGER NOT NULL, model VARCHAR NOT NULL, vector FLOAT[]);
CREATE TABLE IF NOT EXISTS observed (sha256 VARCHAR NOT NULL, observer VARCHAR NOT NULL, version VARCHAR NOT NULL, error VARCHAR);

-- Derived tables are declared in manifest/derivations.py. This table holds what each derivation was last made from.
-- inputs_hash: a hash of its inputs and version; result: a hash of its result, if equal results change nothing further;
-- there: whether there was anything to derive. Facts from outside (records, observations) are stored in the same way.
CREATE TABLE IF NOT EXISTS derivation (
    name VARCHAR NOT NULL, inputs_hash VARCHAR NOT NULL, result VARCHAR, there BOOLEAN NOT NULL, "at" VARCHAR NOT NULL
);

-- The verdicts of the recipe in force. `status` of a check is `ran` or `not run` (its observer has not run).
CREATE TABLE IF NOT EXISTS recipe_check (
    position INTEGER NOT NULL, "check" VARCHAR NOT NULL, verdict VARCHAR NOT NULL, predicate VARCHAR NOT NULL,
    status VARCHAR NOT NULL
);
CREATE TABLE IF NOT EXISTS verdict (
    record_id INTEGER NOT NULL, "check" VARCHAR NOT NULL, verdict VARCHAR NOT NULL, reason VARCHAR NOT NULL, value DOUBLE
);

-- The derived table `decision` holds what people answered, resolved from the file of decisions: one row per record that has
-- answers. status: decided; conflict (reviewers disagree); unfit (the answer cannot apply); claim_changed and changed
-- (the answers are about another claimed age, another picture). answer: keep, reject or age; NULL where nothing is decided.
-- `by`: reviewers, joined by `;`. box_…: the chosen face, in pixels.

-- Balance plans: how each was made, from which curated records (a fingerprint), and its rows.
CREATE TABLE IF NOT EXISTS plan_made (
    plan VARCHAR NOT NULL, per_class INTEGER NOT NULL, thin_from INTEGER NOT NULL, thin_to INTEGER NOT NULL,
    seed BIGINT NOT NULL, made_at VARCHAR NOT NULL, curated VARCHAR NOT NULL
);
CREATE TABLE IF NOT EXISTS plan (plan VARCHAR NOT NULL, record_id INTEGER NOT NULL, copies INTEGER NOT NULL);

-- --- views ---------------------------------------------------------------------------------------------------------

-- The faces that the detector in force found.
CREATE OR REPLACE VIEW face_in_force AS
SELECT face.* FROM face JOIN meta ON meta.key = 'detector' AND meta.value = face.detector;

-- Where the release locates the face, in pixels of the picture as it is here. IMDB-WIKI gives the face in the uncropped
-- photograph, and its crops add a margin of 40 % of the face on every side (so 1.8 times its size; ratios from 1.4 to 2.2
-- are treated alike), with the face in the middle. A box that covers the whole picture says nothing.
CREATE OR REPLACE VIEW expected_face AS
SELECT record_id, e.x, e.y, e.w, e.h
FROM (
    SELECT record_id, CASE
        WHEN box_w < 4 OR box_h < 4 OR (box_w >= 0.9 * width AND box_h >= 0.9 * height) THEN NULL
        WHEN width BETWEEN 1.4 * box_w AND 2.2 * box_w AND height BETWEEN 1.4 * box_h AND 2.2 * box_h
            THEN {'x': (width - box_w) / 2, 'y': (height - box_h) / 2, 'w': box_w, 'h': box_h}
        WHEN box_x >= -1 AND box_y >= -1 AND box_x + box_w <= width + 1 AND box_y + box_h <= height + 1
            THEN {'x': box_x, 'y': box_y, 'w': box_w, 'h': box_h}
        END AS e
    FROM record JOIN content USING (part, path) JOIN image USING (sha256)
    WHERE box_w IS NOT NULL AND box_h IS NOT NULL
)
WHERE e IS NOT NULL;

-- The chosen face: the one that overlaps the release's own box most (at least a fifth of their union), else the one that
-- matches the subject's other pictures, else the largest.
CREATE OR REPLACE VIEW meant_face AS
WITH candidate AS (
    SELECT record_id, sha256, f.face_no, f.w * f.h AS area,
           greatest(0, least(f.x + f.w, e.x + e.w) - greatest(f.x, e.x))
           * greatest(0, least(f.y + f.h, e.y + e.h) - greatest(f.y, e.y)) AS shared,
           shared / (f.w * f.h + e.w * e.h - shared) AS overlap,
           2 * sqrt(pow(f.x + f.w / 2 - e.x - e.w / 2, 2) + pow(f.y + f.h / 2 - e.y - e.h / 2, 2)) / (e.w + e.h)
               AS offset_,
           coalesce(i.identity_face_no = f.face_no, FALSE) AS agrees
    FROM record JOIN content USING (part, path) JOIN face_in_force f USING (sha256)
    LEFT JOIN expected_face e USING (record_id)
    LEFT JOIN identity i USING (record_id)
),
chosen AS (
    SELECT record_id, sha256, face_no, overlap, offset_, agrees
    FROM candidate
    QUALIFY row_number() OVER (
        PARTITION BY record_id
        ORDER BY CASE WHEN overlap >= 0.2 THEN overlap ELSE 0 END DESC, agrees DESC, area DESC, face_no) = 1
)
SELECT record_id, sha256, face_no, f.x, f.y, f.w, f.h, f.score, f.sharpness, f.landmarks,
       overlap AS box_overlap, offset_ AS box_offset,
       CASE WHEN overlap >= 0.2 THEN 'release box' WHEN agrees THEN 'identity' ELSE 'largest' END AS face_chosen_by
FROM chosen JOIN face_in_force f USING (sha256, face_no);

-- What people's answers make of a record, whatever the checks say.
CREATE OR REPLACE VIEW verdict_of_people AS
SELECT *, CASE WHEN status <> 'decided' THEN 'review' WHEN answer = 'reject' THEN 'reject' ELSE 'keep' END AS verdict,
       CASE status WHEN 'conflict' THEN 'reviewers_disagree' WHEN 'changed' THEN 'picture_changed'
            WHEN 'unfit' THEN 'answer_does_not_fit' WHEN 'claim_changed' THEN 'claim_changed'
            ELSE CASE WHEN answer = 'reject' THEN 'decision' END END AS said
FROM decision;

-- What copies are ranked by: the final age if it is plausible, and whether people kept the record (0), rejected it (2), or
-- have not decided (1).
CREATE OR REPLACE VIEW copy_claim AS
SELECT record_id, record.part, record.path,
       CASE d.verdict WHEN 'reject' THEN 2 WHEN 'keep' THEN 0 ELSE 1 END AS unwanted,
       CASE WHEN coalesce(d.age, record.age) BETWEEN 0 AND 99 AND NOT coalesce(d.verdict = 'reject', FALSE)
            THEN coalesce(d.age, record.age) END AS plausible
FROM record LEFT JOIN verdict_of_people AS d USING (record_id);

-- Records with the same file content and, if a face is known to be the subject's, the same face. The one that stays is
-- first: one that people kept, then one with a plausible age, then the order of the release.
CREATE OR REPLACE VIEW exact_copy AS
SELECT record_id,
       count(*) OVER same AS copies,
       row_number() OVER (same ORDER BY unwanted, plausible IS NULL, record_id) AS copy_rank,
       first_value(part || '/' || path) OVER (same ORDER BY unwanted, plausible IS NULL, record_id) AS copy_of,
       max(plausible) OVER same - min(plausible) OVER same AS copies_age_gap
FROM copy_claim JOIN content USING (part, path) LEFT JOIN identity USING (record_id)
WHERE sha256 IS NOT NULL
WINDOW same AS (PARTITION BY sha256, coalesce(identity_face_no, -1));

-- Near duplicates as they were derived, updated with people's answers.
CREATE OR REPLACE VIEW near_copy_now AS
SELECT record_id, near_copies,
       CAST(dense_rank() OVER (PARTITION BY near_group ORDER BY unwanted, near_rank) AS INTEGER) AS near_rank,
       first_value(part || '/' || path) OVER (PARTITION BY near_group ORDER BY unwanted, near_rank, record_id) AS near_of,
       max(plausible) OVER (PARTITION BY near_group) - min(plausible) OVER (PARTITION BY near_group) AS near_age_gap
FROM near_copy JOIN copy_claim USING (record_id);

-- The columns of `evidence` that are not derived (see manifest/derivations.py).
CREATE OR REPLACE VIEW observed_evidence AS
SELECT record.record_id, record.part, record.path, subject_id, name, gender, dob, dob_day,
       photo_year, age, face_score, second_face_score, box_x, box_y, box_w, box_h,
       content.error AS file_error, content.bytes, content.sha256,
       format, width, height, least(width, height) AS short_side, channels, grayscale, phash, image.sharpness, brightness,
       contrast,
       detector.value AS detector,
       CASE WHEN looked.sha256 IS NULL OR looked.error IS NOT NULL THEN NULL ELSE coalesce(f.faces, 0) END AS faces,
       looked.error AS detector_error,
       m.face_no, m.face_chosen_by, m.x AS face_x, m.y AS face_y, m.w AS face_w, m.h AS face_h,
       sqrt(m.w * m.h) AS face_size, m.h / height AS face_share, m.score AS detection_score,
       m.sharpness AS face_sharpness, f.second_face_ratio, m.box_overlap, m.box_offset,
       copies, copy_rank, copy_of, copies_age_gap
FROM record
LEFT JOIN content USING (part, path)
LEFT JOIN image USING (sha256)
LEFT JOIN meta AS detector ON detector.key = 'detector'
LEFT JOIN observed AS looked ON looked.sha256 = content.sha256 AND looked.observer = 'faces:' || detector.value
LEFT JOIN meant_face AS m ON m.record_id = record.record_id
LEFT JOIN (
    SELECT sha256, count(*) AS faces,
           sqrt((max(w * h, 2)[2]) / max(w * h)) AS second_face_ratio
    FROM face_in_force GROUP BY sha256
) AS f ON f.sha256 = content.sha256
LEFT JOIN exact_copy ON exact_copy.record_id = record.record_id;

-- What the checks that fired say of a record together: a reject outweighs a review.
CREATE OR REPLACE MACRO strictest(verdicts) AS CASE WHEN bool_or(verdicts = 'reject') THEN 'reject' ELSE 'review' END;
CREATE OR REPLACE VIEW verdict_of_checks AS
SELECT record_id, strictest(verdict.verdict) AS verdict,
       string_agg("check", ';' ORDER BY recipe_check.position) AS reasons,
       arg_min("check", recipe_check.position + CASE WHEN verdict.verdict = 'reject' THEN 0 ELSE 1000000 END)
           AS first_check
FROM verdict JOIN recipe_check USING ("check")
GROUP BY record_id;

-- One row per record with its final verdict, after decisions: a person's answer takes precedence over every check. age: the
-- final one. Reasons are in the recipe's order; before them `decision` if a person rejected the record, or
-- `reviewers_disagree`, `answer_does_not_fit`, `claim_changed` or `picture_changed` if answers leave it in review. A record
-- that stays has no reasons.
CREATE OR REPLACE VIEW judged AS
SELECT record_id, part, path, coalesce(d.age, record.age) AS age, record.age AS claimed_age,
       coalesce(d.verdict, v.verdict, 'keep') AS verdict,
       CASE WHEN d.status IS NULL THEN v.reasons
            WHEN d.status <> 'decided' OR d.answer = 'reject' THEN concat_ws(';', said, v.reasons) END AS reasons,
       CASE WHEN d.status IS NULL THEN v.first_check ELSE said END AS first_check,
       CASE WHEN d.status = 'decided' THEN d."by" END AS decided_by
FROM record
LEFT JOIN verdict_of_checks AS v USING (record_id)
LEFT JOIN verdict_of_people AS d USING (record_id)
WHERE EXISTS (SELECT 1 FROM derivation WHERE name = 'verdicts');

-- How many records each check takes, in order, and then the decisions; a record is counted once: at the decision if a
-- person answered; else at the first check that rejects it, or, if none does, at the first that sends it to review.
CREATE OR REPLACE VIEW funnel AS
SELECT 0 AS position, 'records' AS step, NULL AS verdict, count(*) AS records, NULL AS status FROM judged
UNION ALL
SELECT c.position + 1, c."check", c.verdict, count(j.record_id), c.status
FROM recipe_check c LEFT JOIN judged j ON j.first_check = c."check"
GROUP BY ALL
UNION ALL
SELECT step.position, step.name, step.verdict, count(j.record_id), NULL
FROM (VALUES (900001, 'decision', 'reject'), (900002, 'reviewers_disagree', 'review'),
             (900003, 'picture_changed', 'review'), (900004, 'claim_changed', 'review'),
             (900005, 'answer_does_not_fit', 'review')) AS step (position, name, verdict)
LEFT JOIN judged j ON j.first_check = step.name
WHERE EXISTS (SELECT 1 FROM decision)
GROUP BY ALL
UNION ALL
SELECT 1000000, 'kept', 'keep', count(*), NULL FROM judged WHERE verdict = 'keep'
ORDER BY position;

-- The records that stay, with their final ages; `curated` without faces, for callers that need none.
CREATE OR REPLACE VIEW kept AS
SELECT record_id, part, path, coalesce(d.age, record.age) AS age, subject_id
FROM record LEFT JOIN verdict_of_people AS d USING (record_id)
WHERE coalesce(d.verdict = 'keep', record_id NOT IN (SELECT record_id FROM verdict))
      AND EXISTS (SELECT 1 FROM derivation WHERE name = 'verdicts');

-- The face that a person chose with a box: the detected face that overlaps it most (at least a fifth of their union). If
-- there is none, the box itself, with a face_no below -1 and the landmarks of a typical frontal face.
CREATE OR REPLACE VIEW decided_face AS
WITH boxed AS (
    SELECT record_id, sha256, box_x AS x, box_y AS y, box_w AS w, box_h AS h
    FROM (SELECT * FROM decision WHERE box_w IS NOT NULL)
    JOIN (SELECT record_id, part, path FROM record) USING (record_id) JOIN content USING (part, path)
    WHERE sha256 IS NOT NULL
),
candidate AS (
    SELECT b.record_id, f.face_no,
           greatest(0, least(f.x + f.w, b.x + b.w) - greatest(f.x, b.x))
           * greatest(0, least(f.y + f.h, b.y + b.h) - greatest(f.y, b.y)) AS shared,
           shared / (f.w * f.h + b.w * b.h - shared) AS overlap
    FROM boxed b JOIN face_in_force f USING (sha256)
    WHERE overlap >= 0.2
    QUALIFY row_number() OVER (PARTITION BY b.record_id ORDER BY overlap DESC, f.face_no) = 1
)
SELECT b.record_id, b.sha256,
       coalesce(c.face_no,
                -2 - CAST(md5_number_lower(concat_ws(' ', b.x, b.y, b.w, b.h)) % 32000 AS INTEGER)) AS face_no,
       coalesce(f.x, b.x) AS x, coalesce(f.y, b.y) AS y, coalesce(f.w, b.w) AS w, coalesce(f.h, b.h) AS h,
       CASE WHEN c.face_no IS NOT NULL THEN f.landmarks ELSE CAST([
           b.x + 0.31 * b.w, b.y + 0.41 * b.h, b.x + 0.69 * b.w, b.y + 0.41 * b.h, b.x + 0.5 * b.w, b.y + 0.61 * b.h,
           b.x + 0.35 * b.w, b.y + 0.78 * b.h, b.x + 0.65 * b.w, b.y + 0.78 * b.h] AS FLOAT[]) END AS landmarks
FROM boxed b LEFT JOIN candidate c USING (record_id)
LEFT JOIN face_in_force f ON f.sha256 = b.sha256 AND f.face_no = c.face_no;

-- What training outside agebench needs. file: where the picture is, as `curate` last saw it.
CREATE OR REPLACE VIEW curated AS
SELECT k.record_id, k.part, k.path, k.age, k.subject_id, record_group.group_id, record_group.photograph_id,
       content.sha256, coalesce(d.face_no, m.face_no) AS face_no, coalesce(d.x, m.x) AS face_x,
       coalesce(d.y, m.y) AS face_y, coalesce(d.w, m.w) AS face_w, coalesce(d.h, m.h) AS face_h,
       CASE WHEN d.face_no IS NULL THEN m.landmarks ELSE d.landmarks END AS landmarks,
       (SELECT value::JSON FROM meta WHERE key = 'folders') ->> k.part || '/' || k.path AS file,
       record.name, record.gender, record.dob, record.photo_year
FROM kept AS k
JOIN record USING (record_id)
LEFT JOIN record_group USING (record_id)
LEFT JOIN content ON content.part = k.part AND content.path = k.path
LEFT JOIN meant_face AS m ON m.record_id = k.record_id
LEFT JOIN decided_face AS d ON d.record_id = k.record_id
ORDER BY k.record_id;
