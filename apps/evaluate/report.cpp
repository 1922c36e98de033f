// ropescope report: runs of evaluate beside the papers' tables.
#include "ropescope/eval/report.h"

#include <optional>
#include <sstream>

#include "ropescope/core/durable_file.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/log.h"
#include "ropescope/core/strings.h"
#include "ropescope/eval/base64.h"
#include "ropescope/eval/report_figure.h"
#include "ropescope/eval/report_page.h"

#include "command.h"
#include "evaluate/report_maps.h"
#include "inputs/data_file.h"
#include "inputs/model_folder.h"

namespace ropescope::app {

namespace report {

namespace {

namespace fs = std::filesystem;

struct ReportFlags {
  std::vector<std::string> results;
  std::string tables, paper_tables = data_file("paper_tables.json");  // tables: empty unless given
  std::string output;
  std::optional<std::string> plot;
  bool all_rows = false;
  int64_t most_items = 2000, picture_pixels = 90000, picture_megabytes = 24, maps = 0;
  std::vector<std::string> data, model;
  std::vector<int64_t> map_records;

  void bind(Flags& flags) {
    flags.group("Input");
    flags.add("results", results, "folders that ropescope evaluate wrote").multitoken().required();
    flags.add(
        "tables", tables,
        "tables of the papers, for example 001:1,001:2; default: those of which a run measures a figure");
    flags.add("all-rows", all_rows,
              "also the figures of these tables that no run measures; implied by --tables");
    flags.add("paper-tables", paper_tables, "the papers' figures");
    flags.group("Output");
    flags.add("output", output, "report: .md, .csv or .html").required();
    flags.add("plot", plot, "the tables as bars, printed and measured with intervals: .png, .svg or .pdf");
    flags.group("Page (.html)");
    flags.add("most-items", most_items, "items of a run that the page holds").at_least(0);
    flags.add("data", data, "data files of the runs, known by their SHA-256: the page shows their pictures")
        .multitoken();
    flags.add("picture-pixels", picture_pixels, "larger pictures are scaled down").at_least(1);
    flags
        .add("picture-megabytes", picture_megabytes,
             "room for pictures in the page; the items behind it go without")
        .at_least(0);
    flags
        .add(
            "maps", maps,
            "attention maps of so many items of each data file, those on which the runs differ first; needs --model and --data")
        .at_least(0);
    flags.add("map-records", map_records, "attention maps of these records, for example 3,17");
    flags.add("model", model, "for the maps: the model that was asked, one for all runs or one for each")
        .multitoken();
  }
};

std::vector<std::string> parts_of(const std::string& list) {
  std::vector<std::string> parts;
  std::stringstream stream(list);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

/// Of a flag that may be given several times, each time with names separated by commas.
std::vector<std::string> names(const std::vector<std::string>& lists) {
  std::vector<std::string> all;
  for (const std::string& list : lists) {
    for (std::string& name : parts_of(list)) all.push_back(std::move(name));
  }
  return all;
}

MapRequest map_request(const ReportFlags& flags) {
  MapRequest request;
  for (const std::string& model : names(flags.model)) request.models.push_back(opened_model(model));
  request.count = flags.maps;
  request.picture_pixels = flags.picture_pixels;
  request.records = {flags.map_records.begin(), flags.map_records.end()};
  const bool asked = request.count > 0 || !request.records.empty();
  if (asked != !request.models.empty()) {
    throw UsageError("expected --model together with --maps or --map-records");
  }
  return request;
}

/// The bars of each table as an SVG picture of the page.
void add_figures(const eval::Report& report, const fs::path& output, eval::ReportPage& page) {
  for (const std::string& table : eval::table_names(report)) {
    const auto figure = eval::table_figure(report, table);
    if (!figure) continue;
    const fs::path file = output.string() + ".figure.svg";
    try {
      draw_figure(*figure, file, /*force=*/true);
    } catch (const EnvironmentError& error) {
      log_warning("the page has no bars of table {}: {}", table, error.what());
      continue;
    }
    page.figures[table] = "data:image/svg+xml;base64," + eval::encode_base64(read_file(file));
    fs::remove(file);
  }
}

std::string page_text(const ReportFlags& flags, const CommonSettings& settings, const MapRequest& maps,
                      const eval::Report& report, const fs::path& output) {
  eval::PageOptions options;
  for (const std::string& file : names(flags.data)) options.data.emplace_back(file);
  options.picture_pixels = maps.picture_pixels;
  options.picture_bytes = flags.picture_megabytes << 20;
  eval::ReportPage page = eval::make_page(report, options);
  if (!maps.models.empty()) add_maps(report, maps, settings, page);
  add_figures(report, output, page);
  return eval::report_html(report, page);
}

int run(const ReportFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  const fs::path output = flags.output;
  const std::string form = output.extension().string();
  if (form != ".md" && form != ".csv" && form != ".html") {
    throw UsageError("--output: expected a name that ends in .md, .csv or .html, found {}", output.string());
  }
  for (const char* flag : {"data", "model", "maps", "map-records"}) {
    if (form != ".html" && invocation.given(flag))
      throw UsageError("--{}: expected --output with .html", flag);
  }
  if (flags.plot) check_figure_path(*flags.plot, settings.force);
  AtomicFile file(output, settings.force);
  const MapRequest maps = map_request(flags);
  std::vector<fs::path> folders;
  for (const std::string& folder : names(flags.results)) folders.emplace_back(folder);
  std::vector<eval::ResultRun> runs = form == ".html"
                                          ? eval::read_runs(folders, flags.most_items, maps.records)
                                          : eval::read_runs(folders, 0);
  const Json paper = read_json_file(flags.paper_tables);
  eval::Report report = eval::make_report(std::move(runs), paper, parts_of(flags.tables), settings.seed);
  if (flags.tables.empty() && !flags.all_rows) eval::keep_measured_rows(report);
  if (flags.plot) draw_figure(eval::report_figure(report), *flags.plot, settings.force);
  const std::string text = form == ".md"    ? eval::report_markdown(report)
                           : form == ".csv" ? eval::report_csv(report)
                                            : page_text(flags, settings, maps, report, output);
  write_text_durably(file.temporary_path(), text);
  file.commit();
  const auto count = [](const auto& list, const char* one) {
    return counted(static_cast<int64_t>(list.size()), one);
  };
  log_info("{}: {} of the papers, {}, {}", output.string(), count(report.rows, "figure"),
           count(report.runs, "run"), count(report.comparisons, "comparison"));
  return 0;
}

}  // namespace

}  // namespace report

extern const Command kReport;
const Command kReport = make_command<report::ReportFlags>(
    "report", "Puts evaluated benchmarks beside the papers' tables: paper, measured, difference, why.",
    "ropescope report --results runs/mmbench runs/mmbench-id-align --output report.html",
    kRunsModel | kStreams | kDraws | kWrites, report::run);

}  // namespace ropescope::app
