// ropescope report: runs of evaluate beside the papers' tables.
#include "ropescope/eval/report.h"

#include <fstream>
#include <sstream>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/log.h"

#include "command.h"

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
      ("most-items", po::value<int64_t>()->default_value(2000), "items of a run that an .html page holds");
  return {input, output};
}

std::vector<std::string> parts_of(const std::string& list) {
  std::vector<std::string> parts;
  std::stringstream stream(list);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

int run(const Arguments& arguments) {
  const CommonSettings settings = common_settings(arguments);
  if (arguments.values.count("results") == 0) throw UsageError("--results is required; see --help");
  const fs::path output = required_text(arguments, "output");
  const std::string form = output.extension().string();
  if (form != ".md" && form != ".csv" && form != ".html") {
    throw UsageError("--output: expected a name that ends in .md, .csv or .html, found {}", output.string());
  }
  const int64_t most = form == ".html" ? arguments.get<int64_t>("most-items") : 0;
  std::vector<eval::ResultRun> runs;
  for (const std::string& list : arguments.get<std::vector<std::string>>("results")) {
    for (const std::string& folder : parts_of(list)) runs.push_back(eval::read_run(folder, most));
  }
  const std::vector<std::string> tables =
      arguments.has("tables") ? parts_of(arguments.get<std::string>("tables")) : std::vector<std::string>();
  const Json paper = read_json_file(arguments.get<std::string>("paper-tables"));
  const eval::Report report = eval::make_report(std::move(runs), paper, tables, settings.seed);
  const std::string text = form == ".md"    ? eval::report_markdown(report)
                           : form == ".csv" ? eval::report_csv(report)
                                            : eval::report_html(report);
  AtomicFile file(output, settings.force);
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
