// A prompt of a live model under a scheme: where its pictures stand, its position ids, and the rotary tables of each pass.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/audit/audited_prompt.h"
#include "ropescope/inputs/picture_reader.h"
#include "ropescope/rope/encoding.h"
#include "ropescope/text/tokenizer.h"

namespace ropescope::python {

/// What a prompt consists of, beside its ids: shapes as in PromptInputs and plans_of_tensors.
struct PromptTensors {
  at::Tensor input_ids;       ///< int64 [B, T]
  at::Tensor attention_mask;  ///< int64 [B, T], or undefined
  std::map<std::string, at::Tensor> processor;
};

/// A model's folder, of which no weight is read.
class ModelFolder {
 public:
  /// Throws InputError, UnsupportedModel.
  explicit ModelFolder(const std::filesystem::path& folder);

  /// The prompt with its pictures placed; `scheme` decides whether tiles have to be.
  AuditedPrompt place(const PromptTensors& tensors, const Scheme& scheme) const;

  /// Whether key/value heads of some layer turn differently. Throws UsageError where the scheme does not fit the model.
  bool heads_differ(const Scheme& scheme) const;

  const DecoderConfig& config() const { return config_; }

 private:
  DecoderConfig config_;
  std::optional<VlmConfig> vlm_;
  std::optional<PictureReader> reader_;
  std::unique_ptr<Tokenizer> tokenizer_;  // of models that tile pictures
};

/// cos and sin [B, key/value heads or 1, tokens, rotary dimension/2] float32; 1 and 0 where nothing turns (padding).
struct PassTable {
  at::Tensor cos, sin;
};

/// Shapes  B rows, T columns of the prompt. Padding stands where it stood; what follows column T was generated.
class PlacedPrompt {
 public:
  /// Throws UsageError where the scheme does not fit the model.
  PlacedPrompt(const ModelFolder& folder, const PromptTensors& tensors, const std::string& scheme);

  int64_t batch() const { return prompt_.batch; }
  int64_t columns() const { return prompt_.tokens; }

  /// [axes, B, count] float64, 0 where hidden.
  at::Tensor position_ids(int64_t first, int64_t count) const;
  /// Of columns first, ..., first + count - 1, one table for all layers or one a layer. Under frequencies that depend on the
  /// length those of a context that ends with them.
  std::vector<PassTable> tables(int64_t first, int64_t count) const;

 private:
  /// The tokens of a stretch among some columns, generated ones behind the last stretch of its row.
  struct Part {
    size_t stretch = 0;
    int64_t first = 0;             ///< in its stretch
    std::vector<int64_t> columns;  ///< of tokens first, first + 1, ..., counted from the first of the window
  };
  std::vector<Part> parts(int64_t first, int64_t count) const;

  AuditedPrompt prompt_;
  std::vector<Stretch> stretches_;
  std::vector<SequenceEncoding> sequences_;  // of each stretch
  int64_t axes_ = 1;
};

}  // namespace ropescope::python
