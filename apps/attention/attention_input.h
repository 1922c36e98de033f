// What `ropescope attention` looks at, from its flags.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/analysis/attention_study.h"
#include "ropescope/models/decoder.h"
#include "ropescope/text/tokenizer.h"

#include "command.h"
#include "inputs/chat_input.h"
#include "inputs/image_input.h"
#include "inputs/layout_input.h"

namespace ropescope::app::attention {

struct InputFlags {
  std::optional<std::string> model, decoder, tokens;
  std::optional<std::string> prompt, preset;  ///< where not given: question(), preset_name()
  ChatFlags chat;
  LayoutFlags layout;
  ImageFlags images;

  void bind(Flags& flags);
  std::string question() const;
  std::string preset_name() const;
  /// The files beside the model's.
  void add_inputs(Provenance& provenance) const;
};

/// A decoder and the inputs that it is given. Inputs refer to the decoder: move neither while they are used.
struct AttentionSource {
  std::shared_ptr<const Decoder> decoder;
  AttentionInputs inputs;
  std::function<void(Provenance& provenance)> add_files;  ///< the model's
  std::filesystem::path model;                            ///< where a tokenizer is looked for
};

/// `generates`: with the head that makes tokens. Throws UsageError, InputError.
AttentionSource read_attention_source(const InputFlags& flags, const CommonSettings& settings,
                                      bool generates);

/// The question of --prompt under --template, for --decoder.
struct QuestionPrompt {
  std::vector<int64_t> ids;  ///< kImageId where an image stands
  size_t images = 1;         ///< of one input
};
/// A prompt that names no image gets one in front. The template as ChatFlags chooses it. Throws UsageError where `images`
/// are not a multiple of those that the prompt names.
QuestionPrompt question_prompt(const InputFlags& flags, const DecoderConfig& config,
                               const Tokenizer& tokenizer, size_t images);

struct Distractor {
  std::vector<int64_t> ids;
  std::vector<std::filesystem::path> files;  ///< that were read for them
};
/// At least `tokens` ids of a corpus's documents in order, blank lines between them. Throws InputError if
/// there are fewer.
Distractor read_distractor(const std::string& corpus, const Tokenizer& tokenizer, int64_t tokens);

}  // namespace ropescope::app::attention
