#include "inputs/model_folder.h"

#include <system_error>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/core/log.h"
#include "ropescope/rope/scheme.h"
#include "ropescope/train/adapter_file.h"
#include "ropescope/train/checkpoints.h"

namespace ropescope::app {

namespace fs = std::filesystem;

namespace {

struct SchemeTag {
  std::optional<std::string> scheme;
  std::string file;  ///< that says it
};

/// state.json of a training step's folder.
std::optional<Json> step_state(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_regular_file(folder / "state.json", ignored)) return std::nullopt;
  Json json = read_json_file(folder / "state.json");
  if (!json_has(json, "format_version") || !json_has(json, "step")) return std::nullopt;
  return json;
}

/// The `scheme` of an object that may be absent; `what` names it in errors.
std::optional<std::string> scheme_in(const Json* object, const std::string& what) {
  if (object == nullptr) return std::nullopt;
  const Json* scheme = json_find(*object, "scheme");
  if (scheme == nullptr) return std::nullopt;
  if (!scheme->is_string())
    throw InputError("{}: \"scheme\": expected a text, found {}", what, scheme->dump());
  return scheme->get<std::string>();
}

SchemeTag find_tag(const fs::path& model) {
  std::error_code ignored;
  if (model.extension() == ".gguf") return {};
  const fs::path folder = fs::is_directory(model, ignored) ? model : fs::absolute(model).parent_path();
  // A step of a training run has the config.json of the model that it began with.
  const fs::path state = folder / "state.json", config = folder / "config.json";
  if (const auto json = step_state(folder)) {
    return {scheme_in(json_find(*json, "config"), state.string() + ": \"config\""), state.string()};
  }
  if (!fs::is_regular_file(config, ignored)) return {};
  const Json json = read_json_file(config);
  const Json* tag = json_find(json, "ropescope");
  return {scheme_in(tag, config.string() + ": \"ropescope\""), config.string()};
}

std::optional<std::string> checked(const SchemeTag& tag) {
  if (!tag.scheme) return std::nullopt;
  try {
    return Scheme(*tag.scheme).text();
  } catch (const Error& error) {
    throw InputError("{}: the model's scheme \"{}\" is none that is known here: {}; --scheme names another",
                     tag.file, *tag.scheme, error.what());
  }
}

}  // namespace

std::string opened_model(const std::string& model) {
  std::error_code ignored;
  const fs::path folder = model;
  if (model.empty() || !fs::is_directory(folder, ignored) || fs::exists(folder / "config.json", ignored)) {
    return model;
  }
  const auto latest = latest_checkpoint(folder / "checkpoints");
  if (is_adapter_folder(latest.value_or(folder))) {
    throw InputError(
        "{}: expected a model, found adapters for one. Try: ropescope export --checkpoint {} --output MODEL",
        model, model);
  }
  if (!latest) return model;
  log_info("{}: the newest step of this run, {}", model, latest->filename().string());
  return latest->string();
}

std::optional<std::string> tagged_scheme(const fs::path& model) { return checked(find_tag(model)); }

std::optional<std::string> trained_template(const fs::path& model) {
  const auto state = step_state(model);
  const Json* config = state ? json_find(*state, "config") : nullptr;
  const Json* chat = config != nullptr ? json_find(*config, "template") : nullptr;
  // ("own": the checkpoint's chat template, which lies beside the step's weights)
  if (chat == nullptr || !chat->is_string() || *chat == "own") return std::nullopt;
  return chat->get<std::string>();
}

void default_to_own_scheme(std::optional<std::string>& scheme, const fs::path& model) {
  if (scheme) return;
  const SchemeTag tag = find_tag(model);
  scheme = checked(tag);
  if (scheme) log_info("scheme {}, as {} says", *scheme, fs::path(tag.file).filename().string());
}

}  // namespace ropescope::app
