// The file of a SentencePiece model (tokenizer.model): a protobuf message, read and written here because the
// library offers neither its fields nor a way to build one from other files. Field numbers: sentencepiece's
// public sentencepiece_model.proto.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ropescope {

struct SentencePiece {
  enum class Type { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  std::string text;
  float score = 0;
  Type type = Type::kNormal;
};

struct SentencePieceModel {
  enum class Kind { kUnigram = 1, kBpe = 2 };
  std::vector<SentencePiece> pieces;
  Kind kind = Kind::kUnigram;
  bool byte_fallback = false;
  std::string unknown_piece = "<unk>";
  std::string bos_piece = "<s>";
  std::string eos_piece = "</s>";
  std::string pad_piece = "<pad>";
  std::string unknown_surface = " \xE2\x81\x87 ";  ///< what an unknown piece decodes to
  std::string character_map;                       ///< compiled normalisation rules; empty: identity
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;

  /// Id of the piece `text`, -1 if there is none. O(pieces).
  int64_t find(std::string_view text) const;
};

/// Throws InputError naming `what` for anything that the library could stumble over: broken wire format,
/// duplicate, empty or non-UTF-8 pieces, missing byte pieces, a character map that points outside itself,
/// kinds other than BPE and unigram.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& what);

/// The checks of parse_sentencepiece_model on a model made elsewhere.
void check_sentencepiece_model(const SentencePieceModel& model, const std::string& what);

/// What the library can load.
std::string serialize_sentencepiece_model(const SentencePieceModel& model);

}  // namespace ropescope
