#include "measure/sampling_state.h"

#include <chrono>
#include <system_error>
#include <utility>

#include <c10/core/InferenceMode.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json_difference.h"
#include "ropescope/core/log.h"

#include "inputs/work_parts.h"

namespace ropescope::app {

namespace fs = std::filesystem;

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

SamplingState::SamplingState(const fs::path& output, Provenance provenance, Json inputs, double seconds)
    : path_(output.string() + ".state"),
      provenance_(std::move(provenance)),
      inputs_(std::move(inputs)),
      seconds_(seconds),
      last_save_(now()) {
  add_facts(inputs_, provenance_);
}

size_t SamplingState::restore(const SampleRun& run) const {
  std::error_code ignored;
  if (!fs::exists(path_, ignored)) return 0;
  const c10::InferenceMode as_the_run;  // whose tensors nothing else may write
  const ResultReader reader(path_);
  const auto broken = [&](const std::string& what) {
    return InputError("{}: {}. Try: the same command without --resume", path_.string(), what);
  };
  if (!reader.has_attribute("/", "sampling_inputs") || !reader.has_attribute("/", "passes")) {
    throw broken("this is no state of a sampling");
  }
  const Attribute said = reader.attribute("/", "sampling_inputs"), passes = reader.attribute("/", "passes");
  const auto* text = std::get_if<std::string>(&said);
  const auto* count = std::get_if<int64_t>(&passes);
  const Json was = text == nullptr ? Json() : Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!was.is_object() || count == nullptr || *count < 0 || static_cast<size_t>(*count) > run.passes()) {
    throw broken("this is no state of a sampling");
  }
  if (const auto other = first_difference(was, inputs_)) {
    throw broken(
        fmt::format("it belongs to another run ({}: {} then, {} now)", other->key, other->was, other->is));
  }
  for (const auto& [name, tensor] : run.state()) {
    const at::Tensor stored = reader.read(name);
    if (stored.sizes() != tensor.sizes()) throw broken("\"" + name + "\" has another shape");
    tensor.copy_(stored);
  }
  return static_cast<size_t>(*count);
}

void SamplingState::say(size_t done, size_t passes) const {
  const std::string output = fs::path(path_).replace_extension().string();
  if (done == 0) {
    log_info("{}: no interrupted run; this one starts from the beginning", output);
  } else {
    log_info("{}: {} of {} passes are done", output, done, passes);
  }
}

void SamplingState::mention() const {
  std::error_code ignored;
  if (fs::exists(path_, ignored)) {
    log_info("{}: an interrupted run's state, which is not used; --resume goes on with it", path_.string());
  }
}

bool SamplingState::save(const SampleRun& run, size_t passes) {
  if (passes == run.passes() || now() - last_save_ < seconds_) return false;
  bool written = false;
  try {
    ResultWriter writer(path_, provenance_, /*force=*/true);
    for (const auto& [name, tensor] : run.state()) writer.write(name, tensor);
    writer.attribute("/", "sampling_inputs", inputs_.dump());
    writer.attribute("/", "passes", static_cast<int64_t>(passes));
    writer.commit();
    written = true;
  } catch (const Error& error) {
    if (!warned_) log_warning("an interrupted run could not be resumed: {}", error.what());
    warned_ = true;
  }
  last_save_ = now();
  return written;
}

void SamplingState::remove() const {
  std::error_code ignored;
  fs::remove(path_, ignored);
}

}  // namespace ropescope::app
