// Which tensors of a file are its decoder's, and which of them gives the logits.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "ropescope/core/json.h"
#include "ropescope/weights/checkpoint.h"

namespace ropescope {

/// The decoder's tensors of `file` (which must outlive the view) under a Llama checkpoint's names: the
/// decoder of a vision-language file (llava_names.h) and nothing else of it; elsewhere one prefix before
/// `layers.0.` takes the place of `model.` (none in a base model's file, `module.model.` in a wrapped one's,
/// `model.language_model.` in Qwen3.5's); of several, the one that has an embedding of tokens. Tensors that go by
/// another prefix (`mtp.`) keep their names. Null where the names are those already, or where several prefixes
/// or none could be meant.
std::unique_ptr<Checkpoint> decoder_part(const Checkpoint& file);

/// Where a decoder's output matrix comes from.
enum class OutputMatrix {
  kOwn,          ///< lm_head.weight
  kEmbedding,    ///< tied: the embedding
  kHeadForBoth,  ///< tied, and only lm_head.weight is there: it is the embedding too
  kNone,         ///< neither tied nor there
};

/// As transformers 5 takes `tie_word_embeddings`: two matrices that differ are not tied, whatever the
/// configuration says; equal ones are, and one alone serves for both. `decoder` has a decoder's names. With
/// both matrices there and the flag set, their numbers are compared.
OutputMatrix output_matrix(const Checkpoint& decoder, bool tie_word_embeddings);

/// Says that the configuration's tie was not followed.
void warn_of_untied_output();

/// Whether one matrix serves as embedding and output of the model in a folder or file whose configuration
/// says `tie_word_embeddings`.
bool is_tied(const std::filesystem::path& model, bool tie_word_embeddings);

/// A config.json whose `tie_word_embeddings` says what the tensors of `model` do; unchanged where it does
/// already.
Json with_true_tie(Json config, const std::filesystem::path& model);

}  // namespace ropescope
