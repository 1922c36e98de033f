// What `inspect` tells about a decoder's layers, one entry a kind, and about the families of decoders.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/json.h"

namespace ropescope::app::inspect {

/// One object for the layers that mix tokens alike: "layers" ("0-4,6"), kind, mixer, heads, what turns them, window, ...
/// null where a layer has none.
Json layers_json(const DecoderConfig& config);

/// Label and text of a report line for each of them.
std::vector<std::pair<std::string, std::string>> layer_rows(const DecoderConfig& config);

/// "theta 10000, yarn by 4 of 4096 trained positions, ..."
std::string rope_text(const RopeConfig& rope);

/// Every family with its summary, on stdout.
void list_architectures(bool json);

}  // namespace ropescope::app::inspect
