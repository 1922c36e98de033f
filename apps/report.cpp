// ropescope report: runs of evaluate beside the papers' tables.
#include "ropescope/eval/report.h"

#include <fstream>
#include <sstream>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/log.h"
#include "ropescope/eval/base64.h"
#include "ropescope/eval/report_figure.h"
#include "ropescope/eval/report_page.h"

#include "command.h"
#include "report_maps.h"

namespace ropescope::app {

namespace {

namespace fs = std::filesystem;

std::vector<po::options_description> options() {
  po::options_description input("Input", 110, 55);
  input.add_options()  //
      ("results", po::value<std::vector<std::string>>()->multitoken(),
       "folders that ropescope evaluate wrote")  //
      ("tables", po::value<std::string>(),
       "tables of the papers, for example 001:1,001:2; default: those of which a run measures a figure")  //
      ("paper-tables", po::value<std::string>()->default_value(ROPESCOPE_PAPER_TABLES),
       "the papers' figures");
  po::options_description output("Output", 110, 55);
  output.add_options()                                                    //
      ("output", po::value<std::string>(), "report: .md, .csv or .html")  //
      ("plot", po::value<std::string>(),
       "the tables as bars, printed and measured with intervals: .png, .svg or .pdf");
  po::options_description page("Page (.html)", 110, 55);
  page.add_options()                                                                                   //
      ("most-items", po::value<int64_t>()->default_value(2000), "items of a run that the page holds")  //
      ("data", po::value<std::vector<std::string>>()->multitoken(),
       "data files of the runs, known by their SHA-256: the page shows their pictures")                  //
      ("picture-pixels", po::value<int64_t>()->default_value(90000), "larger pictures are scaled down")  //
      ("picture-megabytes", po::value<int64_t>()->default_value(24),
       "room for pictures in the page; the items behind it go without")  //
      ("maps", po::value<int64_t>()->default_value(0),
       "attention maps of so many items of each data file, those on which the runs differ first; needs "
       "--model "
       "and --data")                                                                                  //
      ("map-records", po::value<std::string>(), "attention maps of these records, for example 3,17")  //
      ("model", po::value<std::vector<std::string>>()->multitoken(),
       "for the maps: the model that was asked, one for all runs or one for each");
  return {input, output, page};
}

std::vector<std::string> parts_of(const std::string& list) {
  std::vector<std::string> parts;
  std::stringstream stream(list);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

/// A flag that may be given several times, each time with names separated by commas.
std::vector<std::string> names(const Arguments& arguments, const char* flag) {
  std::vector<std::string> all;
  if (arguments.values.count(flag) == 0) return all;
  for (const std::string& list : arguments.get<std::vector<std::string>>(flag)) {
    for (std::string& name : parts_of(list)) all.push_back(std::move(name));
  }
  return all;
}

int64_t at_least(const Arguments& arguments, const char* flag, int64_t least) {
  const auto value = arguments.get<int64_t>(flag);
  if (value < least) throw UsageError("--{}: expected at least {}, found {}", flag, least, value);
  return value;
}

MapRequest map_request(const Arguments& arguments) {
  MapRequest request;
  request.models = names(arguments, "model");
  request.count = at_least(arguments, "maps", 0);
  request.picture_pixels = at_least(arguments, "picture-pixels", 1);
  if (arguments.has("map-records")) {
    const auto records = parse_integer_list(arguments.get<std::string>("map-records"), "map-records");
    request.records = {records.begin(), records.end()};
  }
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

std::string page_text(const Arguments& arguments, const CommonSettings& settings, const MapRequest& maps,
                      const eval::Report& report, const fs::path& output) {
  eval::PageOptions options;
  for (const std::string& file : names(arguments, "data")) options.data.emplace_back(file);
  options.picture_pixels = maps.picture_pixels;
  options.picture_bytes = at_least(arguments, "picture-megabytes", 0) << 20;
  eval::ReportPage page = eval::make_page(report, options);
  if (!maps.models.empty()) add_maps(report, maps, settings, page);
  add_figures(report, output, page);
  return eval::report_html(report, page);
}

int run(const Arguments& arguments) {
  const CommonSettings settings = common_settings(arguments);
  if (arguments.values.count("results") == 0) throw UsageError("--results is required; see --help");
  const fs::path output = required_text(arguments, "output");
  const std::string form = output.extension().string();
  if (form != ".md" && form != ".csv" && form != ".html") {
    throw UsageError("--output: expected a name that ends in .md, .csv or .html, found {}", output.string());
  }
  for (const char* flag : {"data", "model", "maps", "map-records"}) {
    if (form != ".html" && arguments.has(flag)) throw UsageError("--{}: expected --output with .html", flag);
  }
  if (arguments.has("plot")) check_figure_path(arguments.get<std::string>("plot"), settings.force);
  AtomicFile file(output, settings.force);
  const MapRequest maps = map_request(arguments);
  std::vector<fs::path> folders;
  for (const std::string& folder : names(arguments, "results")) folders.emplace_back(folder);
  std::vector<eval::ResultRun> runs =
      form == ".html" ? eval::read_runs(folders, at_least(arguments, "most-items", 0), maps.records)
                      : eval::read_runs(folders, 0);
  const std::vector<std::string> tables =
      arguments.has("tables") ? parts_of(arguments.get<std::string>("tables")) : std::vector<std::string>();
  const Json paper = read_json_file(arguments.get<std::string>("paper-tables"));
  const eval::Report report = eval::make_report(std::move(runs), paper, tables, settings.seed);
  if (arguments.has("plot")) {
    draw_figure(eval::report_figure(report), arguments.get<std::string>("plot"), settings.force);
  }
  const std::string text = form == ".md"    ? eval::report_markdown(report)
                           : form == ".csv" ? eval::report_csv(report)
                                            : page_text(arguments, settings, maps, report, output);
  std::ofstream stream(file.temporary_path(), std::ios::binary);
  stream << text;
  stream.close();
  if (!stream) throw EnvironmentError("{}: writing failed", output.string());
  file.commit();
  log_info("{}: {} figures of the papers, {} runs, {} comparisons", output.string(), report.rows.size(),
           report.runs.size(), report.comparisons.size());
  return 0;
}

}  // namespace

extern const Command kReport;
const Command kReport{
    "report", "Puts evaluated benchmarks beside the papers' tables: paper, measured, difference, why.",
    "ropescope report --results runs/mmbench runs/mmbench-id-align --output report.html", options, run};

}  // namespace ropescope::app
