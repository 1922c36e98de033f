#include "ropescope/train/run_log.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "ropescope/core/durable_file.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::vector<std::pair<std::string, double>> named_numbers(const Curves::Point& point) {
  return {{"train/loss", point.loss},
          {"train/learning_rate", point.learning_rate},
          {"train/grad_norm", point.gradient_norm},
          {"train/tokens_per_second", point.tokens_per_second}};
}

/// JSON as a block of Markdown that keeps its lines.
std::string as_block(const Json& json) {
  std::string block;
  const std::string text = json.is_string() ? json.get<std::string>() : json.dump(2);
  for (size_t from = 0; from <= text.size();) {
    const size_t to = std::min(text.find('\n', from), text.size());
    block += "    " + text.substr(from, to - from) + "\n";
    from = to + 1;
  }
  return block;
}

}  // namespace

RunLogForms parse_log_forms(const std::vector<std::string>& names) {
  RunLogForms forms;
  for (const std::string& name : names) {
    if (name == "tensorboard") {
      forms.tensorboard = true;
    } else if (name == "jsonl") {
      forms.jsonl = true;
    } else {
      throw UsageError("--log: expected tensorboard or jsonl, or both, found \"{}\"", name);
    }
  }
  return forms;
}

namespace {

/// Bytes of the lines up to a step.
uint64_t bytes_up_to(const fs::path& file, int64_t step) {
  std::error_code code;
  if (step < 0 || !fs::exists(file, code)) return 0;
  const std::string all = read_file(file);
  size_t kept = 0;
  for (size_t to = 0; (to = all.find('\n', kept)) != std::string::npos; kept = to + 1) {
    const std::string text = all.substr(kept, to - kept);
    const Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!line.is_object() || !line.contains("step") || !line.at("step").is_number_integer()) {
      throw InputError("{}: expected an object with a step in every line, found \"{}\". Try: move it away",
                       file.string(), text.substr(0, 80));
    }
    if (line.at("step").get<int64_t>() > step) break;
  }
  return kept;
}

}  // namespace

RunLog::RunLog(const fs::path& folder, const RunLogForms& forms, int64_t step, const Json& header) {
  if (forms.tensorboard) {
    const fs::path place = folder / "tensorboard";
    std::error_code code;
    fs::create_directories(place, code);
    if (code) throw EnvironmentError("{}: the folder cannot be made ({})", place.string(), code.message());
    // TensorBoard knows event files by a part of their names; one is enough, however often a run is resumed.
    events_ = std::make_unique<EventFile>(place / "events.out.tfevents.1.ropescope", step);
    if (!events_->continues()) {
      for (const auto& part : header.items()) {
        events_->text(0, seconds_now(), "run/" + part.key(), as_block(part.value()));
      }
    }
  }
  if (forms.jsonl) {
    replace_text_file(folder / "log_header.json", header.dump(2) + "\n");
    const fs::path lines = folder / "log.jsonl";
    lines_ = std::make_unique<DurableFile>(lines, bytes_up_to(lines, step));
  }
}

void RunLog::add(const Curves::Point& point) {
  const double now = seconds_now();
  if (events_) events_->scalars(point.step, now, named_numbers(point));
  if (!lines_) return;
  Json line = {{"step", point.step}, {"_timestamp", now}};
  for (const auto& [name, value] : named_numbers(point)) line[name] = value;
  lines_->write(line.dump() + "\n");
}

void RunLog::picture(int64_t step, const std::string& name, const fs::path& png) {
  if (events_) events_->picture(step, seconds_now(), name, read_file(png));
}

void RunLog::sync() const {
  if (events_) events_->sync();
  if (lines_) lines_->sync();
}

}  // namespace ropescope
