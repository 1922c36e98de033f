// The parts of `trace` that look at images: prompts with images in them, and vision towers alone.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ropescope/text/tokenizer.h"

#include "command.h"
#include "inputs/image_input.h"
#include "trace/trace_flags.h"
#include "trace/trace_output.h"
#include "trace/trace_tokens.h"

namespace ropescope::app::trace {

/// What the decoder is given: --text or --tokens, with --image or --pixels in their places.
struct TracePrompt {
  TraceTokens tokens;                    ///< images expanded
  std::unique_ptr<Tokenizer> tokenizer;  ///< for --text only
  std::optional<VlmConfig> vlm;          ///< with pictures or clips
  std::vector<NamedMedia> media;
  MediaPrompt expanded;  ///< with pictures or clips
};

/// Throws UsageError for images without a model that sees, InputError for tokens that do not fit.
TracePrompt read_trace_prompt(const TraceFlags& flags, const DecoderConfig& config);

/// The layout that the images make, the same for every row; none without images. Throws UsageError if rows
/// differ, or nothing says where the tiles lie that `scheme` aligns.
std::optional<Layout> layout_of_images(const TracePrompt& prompt, const Scheme& scheme);

/// Pictures and clips through the tower, what --dump asks of them written down, and the embeddings of the prompt.
MediaEmbeddings trace_media(const TracePrompt& prompt, const Vlm& vlm, const std::set<std::string>& wanted,
                            TraceOutput& output);

/// A folder with a vision tower alone: hidden states, attention, and the feature that a projector gets.
int run_trace_tower(const TraceFlags& flags, const Invocation& invocation);

/// What `trace` runs.
enum class Traced { kDecoder, kVlm, kTower };
/// Throws UsageError for something to dump that the kind of model does not have.
void check_dump(const std::set<std::string>& wanted, Traced kind);

/// --layers as given: which of `count` layers to show; all where there are none. Throws UsageError.
std::vector<bool> chosen_layers(const std::vector<int64_t>& layers, int64_t count);

}  // namespace ropescope::app::trace
