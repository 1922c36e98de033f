// What a model's folder says beside its weights: which step of a training run is meant, and under which scheme it was
// trained.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace ropescope::app {

/// `model` as it is; for the folder of a training run (checkpoints/step-N in it, and no config.json) its newest step,
/// which is said on stderr.
std::string opened_model(const std::string& model);

/// The scheme that a model was trained under: state.json of a training step, else `ropescope.scheme` of config.json;
/// none where neither names one. Throws InputError, naming the file, for what is no scheme.
std::optional<std::string> tagged_scheme(const std::filesystem::path& model);

/// The conversation template that a step of a training run was taught with (state.json); none for other models.
std::optional<std::string> trained_template(const std::filesystem::path& model);

/// The default of --scheme: fills `scheme`, where it was not given, with the model's own (tagged_scheme) and says so on
/// stderr.
void default_to_own_scheme(std::optional<std::string>& scheme, const std::filesystem::path& model);

}  // namespace ropescope::app
