// A language model as commands load it: a decoder, with a vision tower and projector where it has to see.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "ropescope/inputs/model_config.h"
#include "ropescope/io/result_file.h"
#include "ropescope/models/vlm.h"

#include "command.h"

namespace ropescope::app {

/// The files beside the weights that decide what a model answers, as far as they are there: configuration, tokenizer,
/// conversation template, preprocessing. None for a single file, which has all of that in itself or beside it.
std::vector<std::filesystem::path> description_files(const std::filesystem::path& model);

/// For a model that is given pictures and is no vision-language model. Throws InputError, naming the model_type, where it is of
/// an architecture that is not supported; else UsageError: it has no vision tower. `flag`: "image", or the like; `way_out` follows what was expected.
[[noreturn]] void refuse_images(const std::string& flag, const std::string& model,
                                const std::string& way_out = "");

/// SHA-256 by name. Of files of one name (an outside vision tower's beside the model's) the later ones get a mark.
Json digests(const std::vector<InputFile>& files);
/// The same of a model that is not loaded here: weights and description_files().
Json model_digests(const std::filesystem::path& model);

/// The settings of a command that answers, whose passes take every weight again for each token: where --dtype and
/// --weights leave the choice and float32 has no room in main memory but bfloat16 has, bfloat16, which is said on stderr.
/// (Streamed, each token would read the whole file.)
CommonSettings settings_for_answers(const Invocation& invocation, const std::filesystem::path& model);

/// How a model is loaded under the common flags.
LoadOptions load_options(const CommonSettings& settings, bool with_lm_head = true);

class LoadedModel {
 public:
  /// `vlm`: load the vision tower and the connector too.
  LoadedModel(const std::filesystem::path& model, const DecoderConfig& decoder,
              const std::optional<VlmConfig>& vlm, const LoadOptions& options, bool whole_tower = false);

  const Decoder& decoder() const { return vlm_ ? vlm_->decoder : *decoder_; }
  Decoder& decoder() { return vlm_ ? vlm_->decoder : *decoder_; }
  /// Only of a model loaded with its eyes.
  const Vlm& vlm() const { return *vlm_; }
  /// Weights and description_files().
  void add_inputs(Provenance& provenance) const;

 private:
  std::optional<Decoder> decoder_;
  std::optional<Vlm> vlm_;
  std::vector<std::filesystem::path> files_;
};

}  // namespace ropescope::app
