#include "step.h"

#include <algorithm>
#include <system_error>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/core/durable_file.h"
#include "ropescope/core/errors.h"

namespace ropescope::miniature {

namespace fs = std::filesystem;

void bind_seed(app::Flags& flags, uint64_t& seed) {
  flags.add("seed", seed, "of pictures, weights and order");
}

void bind_from(app::Flags& flags, std::string& from) {
  flags.add("from", from, "the folder that prepare filled").required();
}

void bind_theta(app::Flags& flags, double& theta, const std::string& help) {
  flags.add("theta", theta, help).shown_default("1e4");
}

void write_whole(const fs::path& file, const std::string& text) {
  std::error_code code;
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), code);
  const fs::path unfinished = file.string() + ".unfinished";
  write_text_durably(unfinished, text);
  fs::rename(unfinished, file, code);
  if (code) throw EnvironmentError("{}: cannot be written ({})", file.string(), code.message());
}

std::vector<fs::path> result_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code code;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, code)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

Json read_if_there(const fs::path& file) {
  std::error_code code;
  return fs::exists(file, code) ? read_json_file(file) : Json::object();
}

void RopeFlags::bind(app::Flags& flags) {
  bind_theta(flags, theta, "base of the rotation");
  flags.add("scaling", scaling,
            fmt::format("of the rotation, as a model's rope_type says it: {}; none unless given",
                        fmt::join(scaling_types(), ", ")));
  flags.add("factor", factor, "of --scaling: how much longer than trained the context is to be")
      .shown_default("");
}

std::string scaling_suffix(const RopeConfig& rope) {
  const std::string text = scaling_text(rope);
  return text.empty() ? text : " " + text;
}

fs::path start_folder(const fs::path& from, const RopeConfig& rope) {
  std::string name = fmt::format("start-{:g}", rope.theta);
  if (rope.type != RopeType::kDefault) {
    name += fmt::format("-{}-{:g}", rope_type_name(rope.type), rope.factor);
  }
  return from / name;
}

World world_of(const Json& prepared, const fs::path& from) {
  return world_from(prepared.is_object() ? prepared.value("settings", Json::object()) : Json::object(),
                    (from / "prepared.json").string());
}

}  // namespace ropescope::miniature
