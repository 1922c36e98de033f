#include "evaluate/score_check.h"

#include <cstdio>
#include <set>
#include <span>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/strings.h"
#include "ropescope/eval/evaluation.h"
#include "ropescope/eval/mmbench_file.h"
#include "ropescope/vision/image.h"

namespace ropescope::app::score {

void print_line(const Json& object) {
  const std::string line = object.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace) + "\n";
  std::fwrite(line.data(), 1, line.size(), stdout);
}

namespace {

Json report_of(std::vector<Json> items, const std::vector<eval::RejectedRecord>& refused) {
  Json rejected = Json::array();
  for (const auto& record : refused) rejected.push_back({{"record", record.record}, {"error", record.error}});
  return {{"items", std::move(items)}, {"rejected", std::move(rejected)}};
}

void print_counts(size_t items, int64_t questions, const std::vector<eval::RejectedRecord>& rejected) {
  fmt::print("{} accepted, {} rejected, {}\n", counted(static_cast<int64_t>(items), "record"),
             rejected.size(), counted(questions, "question"));
  for (const auto& record : rejected) {
    fmt::print("record {}: {}\n", record.record, eval::rejection_text(record.error));
  }
}

void flush() {
  if (std::fflush(stdout) != 0) throw EnvironmentError("stdout: writing failed");
}

}  // namespace

int check_mmbench(const std::string& path, bool json) {
  eval::MmbenchCheck check = eval::check_mmbench_file(path);
  if (json) {
    Json report = report_of(std::move(check.items), check.rejected);
    report["n_circular_groups"] = check.circular_groups;
    if (!check.file_error.empty()) report["file_error"] = check.file_error;
    if (!check.missing_column.empty()) report["column"] = check.missing_column;
    print_line(report);
  } else {
    print_counts(check.items.size(), check.circular_groups, check.rejected);
  }
  flush();
  if (check.file_error == "missing_column") {
    throw InputError("{}: the header has no column \"{}\"", path, check.missing_column);
  }
  if (check.file_error == "unclosed_quote") {
    throw InputError("{}: a quote is not closed before the end of the file", path);
  }
  return 0;
}

int check_records(const std::string& path, const eval::Benchmark& benchmark, const eval::Rules& rules,
                  bool json) {
  const auto records = eval::open_records(path, benchmark);
  eval::Rules asked = rules;
  // Subtitles are of the clips, and pixels of a model's pictures: neither is there.
  asked.subtitles = false;
  asked.boxes = eval::BoxScale::kAuto;
  std::vector<eval::RejectedRecord> rejected = records->rejected();
  std::vector<Json> items;
  std::set<std::string> decoded;
  for (int64_t i = 0; i < records->size(); ++i) {
    try {
      const eval::Question question =
          eval::checked_question(*records, benchmark, asked, i, /*pictures=*/true);
      for (const std::string& key : question.pictures) {
        if (decoded.count(key) > 0) continue;
        const std::string bytes = records->picture(key);
        decode_image(std::as_bytes(std::span(bytes)), "picture " + key);
        decoded.insert(key);
      }
      items.push_back(records->doc(i));
    } catch (const InputError& error) {
      rejected.push_back({records->number(i), error.what()});
    }
  }
  const auto questions = static_cast<int64_t>(items.size());
  if (json) {
    Json report = report_of(std::move(items), rejected);
    report["n_questions"] = questions;
    print_line(report);
  } else {
    print_counts(static_cast<size_t>(questions), questions, rejected);
  }
  flush();
  return 0;
}

}  // namespace ropescope::app::score
