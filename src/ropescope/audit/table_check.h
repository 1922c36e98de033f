// Rotary tables that were recorded beside their ids: are they the model's own at these ids, and if not, which way of
// pairing channels or of dividing them among frames, rows and columns do they have?
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/decoder_config.h"

namespace ropescope {

/// As a model's code makes them: [tokens, D], [B, tokens, D] or, before channels are divided among axes,
/// [3, B, tokens, D], where D is the rotary dimension or half of it.
struct RecordedTables {
  at::Tensor cos, sin;     ///< floating point
  bool half_type = false;  ///< stored in 16 bits
};

/// One more way to be wrong: an entry of known_table_mistakes().
struct TableMistake {
  std::string name, sentence, symptom;
  std::vector<std::string> sources;
};

const std::vector<TableMistake>& known_table_mistakes();

struct TableReport {
  std::string
      form;  ///< "halves": channel i beside i + D/2, "adjacent": 2i beside 2i + 1, "single": each once
  double difference = 0;                     ///< largest |cos - cos'|, |sin - sin'| from the model's own
  double tolerance = 0;                      ///< what rounding of ids times frequencies gives
  int64_t row = 0, token = 0, channel = 0;   ///< where the first value beyond it lies
  const TableMistake* looks_like = nullptr;  ///< what gives the whole record; null: none that is known
  std::string detail;
  bool equal = true;
};

/// `ids` [axes, B, tokens] float64. A model whose layers turn in several ways is fitted by any of them. Throws InputError for
/// shapes that are no table of this model and for numbers that are not finite.
TableReport check_tables(const DecoderConfig& config, const at::Tensor& ids, const RecordedTables& tables);

}  // namespace ropescope
