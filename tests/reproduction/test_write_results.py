"""The paper's tables and figures from logged runs."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from helpers.logged import run_of
from helpers.programs import ROOT
from rmt.paper.experiments import rows
from rmt.reproduction.pages import find_pages, refresh, with_tables
from rmt.reproduction.paper_tables import paper_table
from rmt.reproduction.scales import SMALL_TEXTS, plan
from rmt.reproduction.targets import PAPER_TABLES, experiments
from rmt.reproduction.write_results import write_figures, write_tables
from rmt.runs.logged_runs import finished_runs
from rmt.runtime.errors import UsageError

RESULTS = ROOT / "results"
TABLES = Path("results/tables")


def lines_of(name: str, runs) -> list[list[str]]:
    """The rows of a table below its head."""
    table = paper_table(name, runs, TABLES)
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[2:]]


def row_named(lines: list[list[str]], *first: str) -> list[str]:
    (found,) = (line for line in lines if tuple(line[: len(first)]) == first)
    return found


@pytest.mark.parametrize("name", PAPER_TABLES)
def test_every_published_row_is_there_without_runs(name):
    lines = lines_of(name, [])
    published = {"table1": 3, "table2": 15, "table3": 15, "table4": 43, "headline": 1}[name]
    assert len(lines) == published + (name == "table3")
    for line, experiment in zip(lines, experiments(name), strict=True):
        score = experiment.accuracy if name == "table1" else experiment.score
        assert (float(line[3].split(" ")[0]) if line[3] else None) == score
        assert line.count("not run") == 2


def test_scores_stand_in_their_scales_column_with_spread_difference_and_logs():
    (row,) = (r for r in rows("table3") if (r.model, r.memory, r.bptt_unrolls) == ("rmt", 10, 1))
    full, mini = plan(row, "paper"), plan(row, "mini")
    runs = [
        run_of(mini, 2, 2.6),
        run_of(full, 1, 1.25),
        run_of(mini, 1, 2.5),
        run_of(mini, 3, lr=9.0),
    ]
    line = row_named(lines_of("table3", runs), "RMT BPTT-1", "10")
    assert line[3:9] == ["1.240 ± 0.006", "1.250", "+0.010", "1", "2.550 ± 0.071", "2"]
    assert line[-1] == (
        f"[1](../runs/paper-enwik8/{full.name}-seed1) "
        f"[1](../runs/mini-enwik8/{mini.name}-seed1) "
        f"[2](../runs/mini-enwik8/{mini.name}-seed2)"
    )


def test_a_short_table_has_the_published_scores_and_those_at_mini_scale():
    own = [plan(rows("table3")[0], scale) for scale in ("mini", "paper")]
    runs = [run_of(each, seed, 2.5) for each in own for seed in (1, 2)]
    _, _, head, _, first, *_ = paper_table("table3", runs, TABLES, short=True).splitlines()
    assert head == "| model | memory | segment | paper bpc | mini | mini seeds |"
    assert first == "| TR-XL (DAI ET AL., 2019) | 512 | 512 | 1.060 | 2.500 ± 0.000 | 2 |"


def test_places_are_among_rows_of_one_segment_length():
    """Of the rows that have run at mini scale; two rows of one configuration count once."""
    chosen = [row for row in rows("table2") if row.model == "trxl"]
    scores = {(150, 150): 9.0, (75, 150): 7.0, (25, 150): 8.0, (100, 50): 1.0, (50, 50): 2.0}
    runs = []
    for row in chosen:
        own = plan(row, "mini")
        if (row.memory, row.segment_len) in scores and own.name not in {
            r.path.name[:-6] for r in runs
        }:
            runs.append(run_of(own, score=scores[row.memory, row.segment_len]))
    lines = lines_of("table2", [replace(run, result=run.result | {"n_token": 9}) for run in runs])
    places = {(line[0], line[1], line[2]): line[9:11] for line in lines}
    assert places["Tr-XL (PAPER)", "150", "150"] == ["", ""]
    assert places["Tr-XL (OURS)", "150", "150"] == ["1", "3"]
    assert places["Tr-XL", "75", "150"] == ["2", "1"]
    assert places["Tr-XL", "25", "150"] == ["3", "2"]
    assert places["Tr-XL", "100", "50"] == ["1", "1"]
    assert places["BASELINE", "0", "50"] == ["", ""]


def test_a_row_that_the_paper_lacks_has_our_score_and_no_place():
    scored = zip(experiments("table3"), range(16), strict=True)
    runs = [run_of(plan(row, "mini"), score=score) for row, score in scored]
    runs.append(run_of(plan(experiments("table3")[-1], "paper"), score=2.0))
    line = row_named(lines_of("table3", runs), "baseline (added)")
    assert line[3:11] == ["", "2.000", "", "1", "15.000", "1", "", ""]


def test_the_rank_correlation_is_spearmans():
    of_a_length = [row for row in rows("table3") if row.segment_len == 128]
    chosen = sorted(of_a_length, key=lambda row: row.score)[:8]
    runs = [
        run_of(plan(row, "mini"), score=score) for row, score in zip(chosen, range(8), strict=True)
    ]
    table = paper_table("table3", runs, TABLES)
    assert "Spearman's rank correlation of paper and mini, segment 128: 1.00 (8 rows)." in table
    assert "Spearman" not in paper_table("table3", runs[:7], TABLES), "too few to mean anything"
    swapped = [
        replace(run, result=run.result | {"test_bpc": s})
        for run, s in zip(runs, (1, 0, 2, 3, 4, 5, 6, 7), strict=True)
    ]
    # 1 - 6 * (1 + 1) / (8 * 63)
    assert "segment 128: 0.98 (8 rows)" in paper_table("table3", swapped, TABLES)


def test_equal_scores_share_the_mean_of_their_places():
    chosen = [row for row in rows("table3") if row.segment_len == 128 and row.model == "rmt"][:4]
    scores = [3.0, 1.0, 3.0, 2.0]
    runs = [run_of(plan(row, "mini"), score=s) for row, s in zip(chosen, scores, strict=True)]
    lines = lines_of("table3", runs)
    places = [row_named(lines, row.name, str(row.memory), "128")[10] for row in chosen]
    assert places == ["3.5", "1", "3.5", "2"]


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_rows_on_different_texts_are_not_compared(scale):
    chosen = [row for row in rows("table3") if row.model == "trxl" and row.segment_len == 128]
    runs = [run_of(plan(row, scale)) for row in chosen]
    runs[2] = replace(runs[2], result=runs[2].result | {"corpus": "another"})
    with pytest.raises(UsageError, match="are of different texts"):
        paper_table("table3", runs, TABLES)


def test_the_text_of_mini_is_named_as_what_it_is():
    (row,) = (r for r in rows("table3") if (r.model, r.memory, r.bptt_unrolls) == ("rmt", 10, 1))
    known = run_of(plan(row, "mini"))
    text = next(text for text, name in SMALL_TEXTS.items() if "enwik8" in name)
    known = replace(known, result=known.result | {"corpus": text})
    other = replace(known, result=known.result | {"corpus": "f" * 64})
    for run, expected in (
        (known, "on the first 4,000,000 bytes"),
        (other, f"the text {'f' * 16}."),
    ):
        assert expected in paper_table("table3", [run], TABLES)


def test_what_rmt_sees_grows_with_its_depth_and_what_trxl_sees_with_its_cache():
    found = {row.model: row.visible_context for row in rows("table2")}
    assert found == {"baseline": 50, "mt": 150, "trxl": 60, "rmt": 200}


def test_everything_is_written_alike_twice(tmp_path):
    runs = [run_of(plan(row, "mini"), score=30 - i) for i, row in enumerate(rows("table4")[-20:])]
    first, second = (
        write_tables(runs, tmp_path / name) + write_figures(runs, tmp_path / name)
        for name in ("one", "two")
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert {path.name for path in first} == {
        *(
            f"{name}.md"
            for name in (
                *PAPER_TABLES,
                "table3-short",
                "table3-midi",
                "memory-added",
                "claims",
                "claims-overview",
                "claims-verdicts",
                "claims-short",
                "rmt-and-trxl",
                "associative",
                "arms",
                "coverage",
                "tasks",
            )
        ),
        *("figure4.png", "figure5.png", "figure5cd.png", "figure7.png"),
        *("claims.png", "table3.png"),
    }


@pytest.fixture
def beside_the_logs(tmp_path):
    """A folder in which results are made anew, to whose logs the tables link."""
    (tmp_path / "runs").symlink_to(RESULTS / "runs")
    return tmp_path


def test_the_committed_tables_are_what_the_committed_logs_give(beside_the_logs):
    for made in write_tables(finished_runs(beside_the_logs / "runs"), beside_the_logs):
        kept = RESULTS / made.relative_to(beside_the_logs)
        assert kept.read_bytes() == made.read_bytes(), f"{kept} is not what the logs give"


def test_the_committed_figures_show_what_the_committed_logs_give(beside_the_logs):
    """By the digests of what is drawn: another version of matplotlib may draw other pixels."""
    for made in write_figures(finished_runs(beside_the_logs / "runs"), beside_the_logs):
        kept = RESULTS / made.relative_to(beside_the_logs)
        shown, expected = (Image.open(path).text.get("Description") for path in (kept, made))
        assert shown == expected, f"{kept} is not what the logs give: run `rmt.figures paper`"


# Pages


@pytest.mark.parametrize("page", find_pages(ROOT), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_pages_show_the_tables_as_they_are(page):
    assert with_tables(page, RESULTS / "tables") == page.read_text(), "run `rmt.tables pages`"


def test_tables_are_put_into_their_places_with_the_pages_links(tmp_path):
    tables = tmp_path / "results" / "tables"
    tables.mkdir(parents=True)
    (tables / "a.md").write_text("| [1](../runs/mini/x) [2](#here) [3](https://a.b/c) |\n")
    place = "before\n<!-- table a -->\nold\n<!-- end -->\nafter\n"
    (tmp_path / "docs" / "results").mkdir(parents=True)
    for page, link in (
        ("README.md", "results/runs/mini/x"),
        ("results/README.md", "runs/mini/x"),
        ("docs/results/a.md", "../../results/runs/mini/x"),
    ):
        (tmp_path / page).write_text(place)
        line = f"| [1]({link}) [2](#here) [3](https://a.b/c) |\n"
        new = f"before\n<!-- table a -->\n{line}<!-- end -->\nafter\n"
        assert with_tables(tmp_path / page, tables) == new
    assert len(refresh(tmp_path)) == 3
    assert refresh(tmp_path) == []
    (tmp_path / "README.md").write_text(f"<!-- table a -->\nwords\n{place}")
    with pytest.raises(UsageError, match=r"README.md has a place for a table without its end"):
        refresh(tmp_path)
    (tmp_path / "README.md").write_text(place)
    (tables / "a.md").unlink()
    with pytest.raises(UsageError, match=r"has a place for .*a.md, which can't be read"):
        refresh(tmp_path)
