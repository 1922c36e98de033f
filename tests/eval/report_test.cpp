// The papers' figures, intervals, comparisons of runs.
#include "ropescope/eval/report.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/eval/report_figure.h"
#include "ropescope/eval/report_tables.h"
#include "ropescope/eval/samples.h"

#include "tests/support/golden.h"

namespace ropescope::eval {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryFolder;

Json our_tables() { return read_json_file(testing::source_path("data/paper_tables.json")); }

TEST(PaperTables, AreTheGoldenOnes) {
  const Json golden = testing::golden_json("evaluation/paper_tables.json"), ours = our_tables();
  EXPECT_EQ(ours.at("tables"), golden.at("tables"));
  EXPECT_EQ(ours.at("derived_counts"), golden.at("derived_counts"));
}

TEST(PaperTables, MeansNameTheBenchmarksThatAreHere) {
  const Json paper = our_tables();
  for (const Json& mean : paper.at("means")) {
    for (const Json& name : mean.at("here")) EXPECT_NO_THROW(find_benchmark(name)) << name;
  }
  size_t named = 0;
  for (const ReportRow& row : make_report({}, paper, {"002:2", "002:4"}, 0).rows) {
    EXPECT_FALSE(row.measured);
    const bool grounding = row.method == "Grounding" || row.column == "Grounding";
    EXPECT_EQ(row.why.find("refcocog_rec") != std::string::npos, grounding) << row.column << " " << row.why;
    named += grounding ? 1 : 0;
  }
  EXPECT_EQ(named, 6u + 7u);
}

TEST(Intervals, KnownValues) {
  // Newcombe 1998, table I: 81 of 263 and 0 of 20.
  EXPECT_NEAR(wilson_interval(81, 263).low, 0.2553, 5e-5);
  EXPECT_NEAR(wilson_interval(81, 263).high, 0.3662, 5e-5);
  EXPECT_NEAR(wilson_interval(0, 20).low, 0, 1e-12);
  EXPECT_NEAR(wilson_interval(0, 20).high, 0.1611, 5e-5);
  // 2 * sum_{k<=2} C(12, k) / 2^12
  EXPECT_NEAR(mcnemar_exact(10, 2), 2.0 * (1 + 12 + 66) / 4096, 1e-12);
  EXPECT_EQ(mcnemar_exact(3, 3), 1);
  EXPECT_EQ(mcnemar_exact(0, 0), 1);
}

TEST(Intervals, BootstrapOfAMeanIsThatOfTheNormal) {
  Stratum stratum;
  for (int i = 0; i < 400; ++i) stratum.values.push_back(i % 4 == 0 ? 1 : 0);
  const Interval interval = bootstrap_interval({stratum}, 1);
  const double half = 1.96 * std::sqrt(0.25 * 0.75 / 400);
  EXPECT_NEAR(interval.low, 0.25 - half, 0.01);
  EXPECT_NEAR(interval.high, 0.25 + half, 0.01);
  EXPECT_EQ(bootstrap_interval({stratum}, 1).low, interval.low);  // the seed decides
  EXPECT_FALSE(
      bootstrap_interval({Stratum{1.0, {0.5}}}, 1).known());  // one unit has no spread: no width of 0
}

/// A finished run of a golden file's items.
void write_run(const std::string& folder, const std::string& name, const std::string& scheme,
               const std::vector<std::string>& outputs) {
  const Json golden = testing::golden_json("evaluation/" + name + ".json");
  const Benchmark& benchmark = find_benchmark(name);
  std::filesystem::create_directories(folder);
  {
    Samples samples(folder + "/samples.jsonl", false);
    for (size_t i = 0; i < golden.at("items").size(); ++i) {
      const Json& item = golden.at("items")[i];
      const Answer answer{
          outputs.empty() ? item.at("output").get<std::string>() : outputs[i % outputs.size()], 1, ""};
      samples.append(make_sample(benchmark, {}, static_cast<int64_t>(i) + 1, item.at("doc"),
                                 {static_cast<int64_t>(i), item.at("prompt"), {}, 0}, answer));
    }
  }
  const Scores scores = score_samples(folder + "/samples.jsonl", benchmark, {});
  const Json summary = {{"benchmark", name},
                        {"model", "tiny"},
                        {"scheme", scheme},
                        {"profile", "paper"},
                        {"policy", "exact"},
                        {"data_sha256", "x"},
                        {"whole_file", true},
                        {"items", scores.items},
                        {"failed", 0},
                        {"limit", 0},
                        {"aggregates", scores.aggregates}};
  std::ofstream(folder + "/summary.json") << summary.dump();
}

TEST(Report, TheWeightedUnitsAreTheFigure) {
  const TemporaryFolder folder;
  for (const char* name : {"mmbench", "mmstar", "mme", "pope", "vqav2", "refcoco_rec", "ai2d"}) {
    write_run(folder.path(name), name, "vanilla", {});
    const ResultRun run = read_run(folder.path(name), 0);
    const auto figure = figure_of(run, 0);
    ASSERT_TRUE(figure) << name;
    std::map<std::string, Stratum> strata;
    for (const auto& [key, unit] : run.units) strata[unit.stratum].values.push_back(unit.value);
    double total = 0;
    for (const auto& [stratum, values] : strata) {
      const auto* benchmark = run.benchmark;
      const double weight = benchmark->units.weight != nullptr
                                ? benchmark->units.weight(stratum, strata.size())
                                : 1.0 / static_cast<double>(strata.size());
      total += weight * stratified_mean({values});
    }
    EXPECT_NEAR(total * run.benchmark->headline_scale, figure->percent, 1e-9) << name;
    EXPECT_LE(figure->interval.low, figure->percent) << name;
    EXPECT_GE(figure->interval.high, figure->percent) << name;
  }
}

/// The same run with other entries in its summary.
void change_summary(const std::string& folder, const Json& changes) {
  Json summary = read_json_file(folder + "/summary.json");
  summary.merge_patch(changes);
  std::ofstream(folder + "/summary.json") << summary.dump();
}

const ReportRow& row_of(const Report& report, const std::string& model, const std::string& method,
                        const std::string& column) {
  for (const ReportRow& row : report.rows) {
    if (row.model.rfind(model, 0) == 0 && row.method == method && row.column == column) return row;
  }
  throw std::runtime_error("no such row: " + column);
}

TEST(Report, PaperAndMeasured) {
  const TemporaryFolder folder;
  write_run(folder.path("a"), "ai2d", "vanilla", {"A", "B"});
  write_run(folder.path("b"), "ai2d", "id-align", {});
  const Report report =
      make_report({read_run(folder.path("a"), 10), read_run(folder.path("b"), 10)}, our_tables(), {}, 0);
  int measured = 0;
  for (const ReportRow& row : report.rows) {
    measured += row.measured ? 1 : 0;
    EXPECT_TRUE(!row.measured || row.column == "AI2D");
    if (row.column == "MMBench_dev" && row.model.rfind("Qwen", 0) == 0) {
      EXPECT_THAT(row.why, HasSubstr("test split"));
    }
  }
  EXPECT_EQ(measured, 5);  // both methods of two models in table 1, ID-Align in table 3
  ASSERT_EQ(report.comparisons.size(), 1u);
  const Comparison& pair = report.comparisons[0];
  EXPECT_EQ(pair.units, 84);
  EXPECT_NEAR(pair.difference, 100.0 / 84 * static_cast<double>(*pair.only_b - *pair.only_a), 1e-9);
  EXPECT_LE(pair.interval.low, pair.difference);
  EXPECT_GE(pair.interval.high, pair.difference);
  EXPECT_NEAR(*pair.p, mcnemar_exact(*pair.only_a, *pair.only_b), 1e-12);
  EXPECT_THAT(report_markdown(report), HasSubstr("| AI2D | 65.74 |"));
  EXPECT_THAT(report_csv(report), HasSubstr("001:1,"));
  EXPECT_THROW(make_report({}, our_tables(), {"009:1"}, 0), UsageError);

  const ReportRow& row = row_of(report, "Vicuna", "w/o ID-Align", "AI2D");
  const double p = *row.measured / 100;
  EXPECT_NEAR(*row.standard_error, 100 * std::sqrt(p * (1 - p) / 84), 1e-9);
  EXPECT_EQ(row.profile, "paper");
  EXPECT_EQ(row.policy, "");  // AI2D has none
  EXPECT_THAT(row.split, HasSubstr("84 of 3088 rows"));
  EXPECT_FALSE(row.whole_split);
  EXPECT_THAT(row.why, HasSubstr("model tiny (paper: Vicuna-1.5-7B"));
  EXPECT_THAT(row.why, HasSubstr("not the whole published split"));
  EXPECT_THAT(row_of(report, "Vicuna", "w/o ID-Align", "Avg").why,
              HasSubstr("mean of the 9 columns beside it; not measured: MMBench_dev"));
}

TEST(Report, PublishedSplitsHaveTheSizesThatThePrintedFiguresFit) {
  const Json counts = our_tables().at("derived_counts").at("others");
  const std::map<std::string, std::string> names = {{"RealWorldQA", "realworldqa"},
                                                    {"SEEDB2-Plus", "seedbench_2_plus"},
                                                    {"AI2D", "ai2d"},
                                                    {"SQA_img", "scienceqa_img"},
                                                    {"POPE", "pope"}};
  for (const auto& [column, name] : names) {
    EXPECT_EQ(published_questions(find_benchmark(name)), counts.at(column).get<int64_t>()) << name;
  }
  EXPECT_EQ(published_questions(find_benchmark("mmbench")), 4329);
  EXPECT_EQ(published_questions(find_benchmark("vqav2")), 214354);
  EXPECT_EQ(published_questions(find_benchmark("mmniah")), std::nullopt);
}

TEST(Report, AnAverageNeedsEveryColumnOnItsWholeSplit) {
  const TemporaryFolder folder;
  std::vector<ResultRun> runs;
  const std::vector<std::string> names = {"mmbench", "mmstar", "realworldqa", "seedbench_2_plus", "pope",
                                          "mme",     "ai2d",   "vqav2",       "scienceqa_img"};
  for (const std::string& name : names) {
    write_run(folder.path(name), name, "id-align", {});
    change_summary(folder.path(name), {{"items", *published_questions(find_benchmark(name))}});
    runs.push_back(read_run(folder.path(name), 0));
  }
  const Report whole = make_report(runs, our_tables(), {"001:1", "001:3"}, 0);
  double sum = 0;
  for (const ResultRun& run : runs) sum += figure_of(run, 0)->percent;
  const ReportRow& average = row_of(whole, "Vicuna", "w/ ID-Align", "Avg");
  ASSERT_TRUE(average.measured) << average.why;
  EXPECT_NEAR(*average.measured, sum / 9, 1e-9);
  EXPECT_TRUE(row_of(whole, "Vicuna", "w/ ID-Align", "AI2D").whole_split);
  EXPECT_FALSE(row_of(whole, "Vicuna", "w/ ID-Align", "AI2D").standard_error);
  // The Qwen figures of MMBench are of other questions, and so are their averages.
  const ReportRow& qwen = row_of(whole, "Qwen2.5-7B", "w/ ID-Align", "MMBench_dev");
  EXPECT_FALSE(qwen.measured);
  EXPECT_THAT(qwen.why, HasSubstr("cannot be measured: the figure fits 1784 questions"));
  EXPECT_THAT(qwen.why, HasSubstr("run mmbench measures"));
  EXPECT_FALSE(row_of(whole, "Qwen2.5-7B", "w/ ID-Align", "Avg").measured);
  EXPECT_THAT(row_of(whole, "Qwen2.5-0.5B", "ID-Align", "avg").why,
              HasSubstr("mean of the 10 columns beside it; cannot be measured: MMB"));

  change_summary(folder.path("ai2d"), {{"whole_file", false}, {"limit", 3000}, {"items", 3000}});
  runs[6] = read_run(folder.path("ai2d"), 0);
  const Report part = make_report(runs, our_tables(), {"001:1"}, 0);
  EXPECT_FALSE(row_of(part, "Vicuna", "w/ ID-Align", "Avg").measured);
  EXPECT_THAT(row_of(part, "Vicuna", "w/ ID-Align", "Avg").why, HasSubstr("not on the whole split: AI2D"));
  EXPECT_THAT(row_of(part, "Vicuna", "w/ ID-Align", "AI2D").why, HasSubstr("the first 3000 records only"));
}

TEST(Report, AbilitiesAndPartsHaveTheirOwnCountsAndIntervals) {
  const TemporaryFolder folder;
  write_run(folder.path("mmbench"), "mmbench", "vanilla", {});
  write_run(folder.path("mme"), "mme", "id-align", {});
  const ResultRun mmbench = read_run(folder.path("mmbench"), 0), mme = read_run(folder.path("mme"), 0);
  const Report report = make_report({mmbench, mme}, our_tables(), {"001:2", "001:3"}, 0);
  int64_t units = 0;
  for (const char* ability : {"CP", "FP-S", "FP-C", "AR", "RR", "LR"}) {
    const ReportRow& row = row_of(report, "Vicuna", "w/o ID-Align", ability);
    double right = 0, count = 0;
    for (const auto& [key, unit] : mmbench.units) {
      if (unit.part != ability) continue;
      right += unit.value;
      count += 1;
    }
    ASSERT_TRUE(row.measured) << ability;
    EXPECT_NEAR(*row.measured, 100 * right / count, 1e-9) << ability;
    EXPECT_EQ(row.units, static_cast<int64_t>(count));
    EXPECT_NEAR(row.interval->low, 100 * wilson_interval(right, count).low, 1e-9);
    units += row.units;
  }
  EXPECT_EQ(units, static_cast<int64_t>(mmbench.units.size()));
  for (const auto& [column, part, weight] :
       {std::tuple("MME-P", "perception", 1.0 / 20), std::tuple("MME-C", "cognition", 1.0 / 8)}) {
    const ReportRow& row = row_of(report, "Qwen2.5-0.5B", "ID-Align", column);
    std::map<std::string, Stratum> strata;
    for (const auto& [key, unit] : mme.units) {
      if (unit.part == part) strata[unit.stratum].values.push_back(unit.value);
    }
    double figure = 0;
    for (const auto& [name, stratum] : strata) figure += weight * stratified_mean({stratum});
    EXPECT_NEAR(*row.measured, figure, 1e-9) << column;
    EXPECT_LE(row.interval->low, figure) << column;
    EXPECT_GE(row.interval->high, figure) << column;
  }
}

TEST(Report, SaysWhatIsOddAboutThePrintedFigures) {
  const Report report =
      make_report({}, our_tables(), {"001:1", "001:2", "002:2", "002:4", "003:figure 3"}, 0);
  const auto why = [&](const char* model, const char* method, const char* column) {
    return row_of(report, model, method, column).why;
  };
  EXPECT_THAT(why("Vicuna", "w/ ID-Align", "RealWorldQA"), HasSubstr("no k/765 gives 59.18"));
  EXPECT_THAT(why("Qwen", "w/ ID-Align", "RR"), HasSubstr("164/211 = 77.725"));
  EXPECT_THAT(why("Qwen", "w/o ID-Align", "CP"), HasSubstr("cannot be measured"));
  EXPECT_THAT(why("MMStar", "MRoPE", "0K"), HasSubstr("error about 0.2"));
  EXPECT_THAT(why("MMStar", "MRoPE", "1K"), HasSubstr("error up to 0.1"));
  const std::string text = report_markdown(report);
  EXPECT_THAT(text, HasSubstr("Paper 002, table 2: the Image means are over another set"));
  EXPECT_THAT(text, HasSubstr("do not mix them"));
  EXPECT_THAT(text, HasSubstr("(perception + cognition)/28"));
  EXPECT_THAT(text, HasSubstr("marker centres of the published figure"));
  EXPECT_THAT(text, HasSubstr("--profile vlmevalkit asks and scores as the paper did"));
  EXPECT_THAT(why("HRBench-4K", "MRoPE", "0K"), HasSubstr("no such run of hrbench_4k"));
  EXPECT_THAT(why("MathVista_MINI", "MRoPE", "0K"), HasSubstr("no such run of mathvista_mini"));
  // Columns as they are printed.
  std::vector<std::string> columns;
  for (const ReportRow& row : report.rows) {
    if (row.table == "001:2" && row.method == "w/o ID-Align" && row.model.rfind("Qwen", 0) == 0) {
      columns.push_back(row.column);
    }
  }
  EXPECT_EQ(columns, (std::vector<std::string>{"CP", "FP-S", "FP-C", "AR", "RR", "LR"}));
}

TEST(Report, RunsOfOneNameAreToldApart) {
  const TemporaryFolder folder;
  write_run(folder.path("x/pope"), "pope", "vanilla", {"yes"});
  write_run(folder.path("y/pope"), "pope", "vanilla", {"no"});
  const auto runs = read_runs({folder.path("x/pope"), folder.path("y/pope")}, 0);
  EXPECT_EQ(runs[0].name, "x/pope");
  EXPECT_EQ(runs[1].name, "y/pope");
  const Report report = make_report(runs, our_tables(), {}, 0);
  EXPECT_THAT(row_of(report, "Vicuna", "w/o ID-Align", "POPE@ACC").why, HasSubstr("run y/pope measures"));
}

TEST(Report, KeepsTheFirstRecordsAndThoseAskedFor) {
  const TemporaryFolder folder;
  write_run(folder.path("a"), "pope", "vanilla", {"yes"});
  std::vector<int64_t> records;
  for (const Json& sample : read_run(folder.path("a"), 3, {2, 9}).samples)
    records.push_back(sample["record"]);
  EXPECT_EQ(records, (std::vector<int64_t>{1, 2, 3, 4, 9}));
}

TEST(Report, RunsOverLongContextsAreTheCurvesOfPaper003) {
  const TemporaryFolder folder;
  const Json golden = testing::golden_json("evaluation/pope.json");
  const Benchmark& pope = find_benchmark("pope");
  std::filesystem::create_directories(folder.path("a"));
  {
    Samples samples(folder.path("a/samples.jsonl"), false);
    for (const char* scheme : {"mrope", "dipe"}) {
      for (const int64_t tokens : {0, 1024}) {
        const Condition condition{scheme, tokens};
        for (size_t i = 0; i < golden.at("items").size(); ++i) {
          const Json& item = golden.at("items")[i];
          const bool answered = condition.scheme == "dipe" || tokens == 0 || i % 2 == 0;
          const Answer answer{answered ? item.at("doc").at("answer").get<std::string>() : "", 1};
          samples.append(make_sample(pope, {}, static_cast<int64_t>(i) + 1, item.at("doc"),
                                     {static_cast<int64_t>(i), item.at("prompt"), {}, 0}, answer,
                                     &condition));
        }
      }
    }
  }
  std::ofstream(folder.path("a/summary.json")) << Json{
      {"benchmark", "pope"},
      {"model", "tiny"},
      {"data_sha256", "x"},
      {"text_lengths", {0, 1024}}}.dump();
  const auto runs = read_runs({folder.path("a")}, 5);
  ASSERT_EQ(runs.size(), 4u);
  for (const ResultRun& run : runs) EXPECT_EQ(run.samples.size(), 5u) << run.name;
  const Report report = make_report(runs, our_tables(), {}, 0);
  EXPECT_NEAR(*row_of(report, "POPE", "MRoPE", "0K").measured, 100, 1e-9);
  EXPECT_NEAR(*row_of(report, "POPE", "MRoPE", "1K").measured, 50, 1.0);
  EXPECT_NEAR(*row_of(report, "POPE", "MRoPE+DIPE", "1K").measured, 100, 1e-9);
  EXPECT_FALSE(row_of(report, "POPE", "MRoPE", "2K").measured);
  EXPECT_THAT(row_of(report, "POPE", "MRoPE", "1K").why, HasSubstr("VLMEvalKit"));
  // Only questions asked at one distance are compared; a text in between is no run of table 3.
  ASSERT_EQ(report.comparisons.size(), 2u);
  for (const ReportRow& row : report.rows) {
    if (row.table == "001:3" && row.method == "MRoPE" && row.column == "POPE") {
      EXPECT_NEAR(*row.measured, 100, 1e-9);
    }
  }
  EXPECT_THROW(read_run(folder.path("a"), 0), InputError);
}

TEST(ReportFigure, HasABarForEveryFigureAndAnIntervalForEveryMeasuredOne) {
  const TemporaryFolder folder;
  write_run(folder.path("a"), "mmbench", "vanilla", {});
  write_run(folder.path("b"), "mmbench", "id-align", {"A"});
  const Report report =
      make_report({read_run(folder.path("a"), 0), read_run(folder.path("b"), 0)}, our_tables(), {}, 0);
  const auto figure = table_figure(report, "001:2");
  ASSERT_TRUE(figure);
  ASSERT_EQ(figure->panels.size(), 1u);  // of the Qwen model nothing can be measured
  const Panel& panel = figure->panels[0];
  std::vector<std::string> labels;
  for (const Series& series : panel.series) labels.push_back(series.label);
  EXPECT_EQ(labels, (std::vector<std::string>{"paper, w/o ID-Align", "measured, w/o ID-Align", "",
                                              "paper, w/ ID-Align", "measured, w/ ID-Align", ""}));
  EXPECT_EQ(panel.x.ticks.size(), 6u);
  for (const Series& series : panel.series) EXPECT_EQ(series.x.size(), 18u) << series.label;
  EXPECT_EQ(panel.series[0].y[0], 79.39);
  const ReportRow& row = row_of(report, "Vicuna", "w/ ID-Align", "LR");
  EXPECT_EQ(panel.series[4].y[15], *row.measured);
  EXPECT_EQ(panel.series[5].y[16], row.interval->high);
  draw_figure(*figure, folder.path("bars.svg"), false);
  EXPECT_GT(std::filesystem::file_size(folder.path("bars.svg")), 1000u);
  EXPECT_FALSE(table_figure(report, "001:3"));
  EXPECT_THROW(report_figure(make_report({}, our_tables(), {"001:1"}, 0)), InputError);
}

}  // namespace
}  // namespace ropescope::eval
