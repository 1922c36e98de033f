// A checkpoint seen under other names: the one place where a model's parts are told apart by their names.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "ropescope/weights/checkpoint.h"

namespace ropescope {

/// The tensors of `base` (which must outlive the view) for which `new_name` gives a name, under that name.
/// Throws InputError if two get the same.
std::unique_ptr<Checkpoint> rename_tensors(
    const Checkpoint& base, const std::function<std::optional<std::string>(const std::string&)>& new_name);

}  // namespace ropescope
