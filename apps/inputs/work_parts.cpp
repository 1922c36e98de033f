#include "inputs/work_parts.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "ropescope/core/durable_file.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/json_difference.h"

#include "inputs/loaded_model.h"

namespace ropescope::app {

namespace fs = std::filesystem;

namespace {

constexpr const char* kPart = "part-";
constexpr const char* kSubject = "run.json";

}  // namespace

void add_facts(Json& subject, const Provenance& provenance) {
  const Json files = digests(provenance.inputs);
  for (const auto& [name, sha256] : files.items()) subject["sha256 of " + name] = sha256;
  subject["device"] = provenance.device;
  subject["dtype"] = provenance.dtype;
  subject["seed"] = provenance.seed;
}

WorkParts::WorkParts(const fs::path& output, std::string extension)
    : folder_(output.string() + ".parts"), extension_(std::move(extension)) {}

bool WorkParts::any() const {
  std::error_code none;
  const fs::directory_iterator entries(folder_, none);
  return std::any_of(fs::begin(entries), fs::end(entries), [](const fs::directory_entry& entry) {
    return entry.path().filename().string().rfind(kPart, 0) == 0;
  });
}

void WorkParts::begin(const Json& subject, bool resume) const {
  if (resume && any()) {
    const auto other = first_difference(read_json_file(folder_ / kSubject), subject);
    if (!other) return;
    throw InputError(
        "{}: it belongs to another run ({}: {} then, {} now). Try: the same command without --resume",
        folder_.string(), other->key, other->was, other->is);
  }
  remove();
  std::error_code code;
  fs::create_directories(folder_, code);
  if (code) throw EnvironmentError("{}: cannot be written ({})", folder_.string(), code.message());
  replace_text_file(folder_ / kSubject, subject.dump(2) + "\n");
}

fs::path WorkParts::file(int64_t item) const {
  return folder_ / fmt::format("{}{:06}{}", kPart, item, extension_);
}

bool WorkParts::has(int64_t item) const {
  std::error_code none;
  return fs::exists(file(item), none);
}

std::vector<int64_t> WorkParts::open(int64_t count) const {
  std::vector<int64_t> items;
  for (int64_t item = 0; item < count; ++item) {
    if (!has(item)) items.push_back(item);
  }
  return items;
}

void WorkParts::remove(int64_t item) const {
  std::error_code none;
  fs::remove(file(item), none);
}

void WorkParts::remove() const {
  std::error_code none;
  fs::remove_all(folder_, none);
}

}  // namespace ropescope::app
