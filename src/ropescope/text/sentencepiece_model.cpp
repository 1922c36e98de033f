#include "ropescope/text/sentencepiece_model.h"

#include <cmath>
#include <cstring>
#include <unordered_set>

#include "ropescope/core/errors.h"
#include "ropescope/text/character_map.h"
#include "ropescope/text/utf8.h"

namespace ropescope {

namespace {

enum class Wire : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Field {
  uint64_t number = 0;
  Wire wire = Wire::kVarint;
  uint64_t value = 0;      ///< of a varint or a fixed number
  std::string_view bytes;  ///< of a string or message
};

/// Protobuf's wire format: a sequence of (number << 3 | wire type, value).
class WireReader {
 public:
  WireReader(std::string_view data, const std::string& what) : data_(data), what_(what) {}

  bool next(Field& field) {
    if (data_.empty()) return false;
    const uint64_t tag = varint();
    field = {tag >> 3, static_cast<Wire>(tag & 7), 0, {}};
    switch (field.wire) {
      case Wire::kVarint:
        field.value = varint();
        return true;
      case Wire::kFixed32:
        std::memcpy(&field.value, take(4).data(), 4);
        return true;
      case Wire::kFixed64:
        std::memcpy(&field.value, take(8).data(), 8);
        return true;
      case Wire::kBytes:
        field.bytes = take(varint());
        return true;
    }
    throw InputError("{}: not a SentencePiece model (wire type {})", what_, tag & 7);
  }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    throw InputError("{}: not a SentencePiece model (a number longer than 64 bits)", what_);
  }

  std::string_view take(uint64_t count) {
    if (count > data_.size()) {
      throw InputError("{}: not a SentencePiece model, or cut short: expected {} more bytes, found {}", what_,
                       count, data_.size());
    }
    const std::string_view taken = data_.substr(0, count);
    data_.remove_prefix(count);
    return taken;
  }

  std::string_view data_;
  const std::string& what_;
};

void expect_wire(const Field& field, Wire wire, const std::string& what) {
  if (field.wire != wire) throw InputError("{}: field {} has an unexpected wire type", what, field.number);
}
std::string text_of(const Field& field, const std::string& what) {
  expect_wire(field, Wire::kBytes, what);
  return std::string(field.bytes);
}
uint64_t number_of(const Field& field, const std::string& what) {
  expect_wire(field, Wire::kVarint, what);
  return field.value;
}

SentencePiece parse_piece(std::string_view bytes, const std::string& what) {
  SentencePiece piece;
  WireReader reader(bytes, what);
  for (Field field; reader.next(field);) {
    if (field.number == 1) piece.text = text_of(field, what);
    if (field.number == 2) {
      expect_wire(field, Wire::kFixed32, what);
      std::memcpy(&piece.score, &field.value, 4);
    }
    if (field.number == 3) {
      const uint64_t type = number_of(field, what);
      if (type < 1 || type > 6)
        throw InputError("{}: piece \"{}\" has the unknown type {}", what, piece.text, type);
      piece.type = static_cast<SentencePiece::Type>(type);
    }
  }
  return piece;
}

void parse_trainer(std::string_view bytes, SentencePieceModel& model, const std::string& what) {
  WireReader reader(bytes, what);
  for (Field field; reader.next(field);) {
    switch (field.number) {
      case 3: {
        const uint64_t kind = number_of(field, what);
        if (kind != 1 && kind != 2) {
          throw InputError("{}: SentencePiece model type {}: expected unigram (1) or BPE (2)", what, kind);
        }
        model.kind = static_cast<SentencePieceModel::Kind>(kind);
        break;
      }
      case 24:
        if (number_of(field, what) != 0) throw InputError("{}: white space as suffix is not supported", what);
        break;
      case 35:
        model.byte_fallback = number_of(field, what) != 0;
        break;
      case 44:
        model.unknown_surface = text_of(field, what);
        break;
      case 45:
        model.unknown_piece = text_of(field, what);
        break;
      case 46:
        model.bos_piece = text_of(field, what);
        break;
      case 47:
        model.eos_piece = text_of(field, what);
        break;
      case 48:
        model.pad_piece = text_of(field, what);
        break;
      default:
        break;
    }
  }
}

void parse_normalizer(std::string_view bytes, SentencePieceModel& model, const std::string& what) {
  WireReader reader(bytes, what);
  for (Field field; reader.next(field);) {
    if (field.number == 2) model.character_map = text_of(field, what);
    if (field.number == 3) model.add_dummy_prefix = number_of(field, what) != 0;
    if (field.number == 4) model.remove_extra_whitespaces = number_of(field, what) != 0;
    if (field.number == 5) model.escape_whitespaces = number_of(field, what) != 0;
  }
}

bool is_byte_piece(std::string_view text) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return text.size() == 6 && text.substr(0, 3) == "<0x" && is_hex(text[3]) && is_hex(text[4]) &&
         text[5] == '>';
}

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(0x80 | (value & 0x7F));
  out += static_cast<char>(value);
}
void append_tag(std::string& out, uint64_t number, Wire wire) {
  append_varint(out, number << 3 | static_cast<uint64_t>(wire));
}
void append_number(std::string& out, uint64_t number, uint64_t value) {
  append_tag(out, number, Wire::kVarint);
  append_varint(out, value);
}
void append_text(std::string& out, uint64_t number, std::string_view text) {
  append_tag(out, number, Wire::kBytes);
  append_varint(out, text.size());
  out.append(text);
}

}  // namespace

int64_t SentencePieceModel::find(std::string_view text) const {
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (pieces[id].text == text) return static_cast<int64_t>(id);
  }
  return -1;
}

SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& what) {
  SentencePieceModel model;
  WireReader reader(bytes, what);
  for (Field field; reader.next(field);) {
    if (field.number < 1 || field.number > 5) continue;
    expect_wire(field, Wire::kBytes, what);
    if (field.number == 1) model.pieces.push_back(parse_piece(field.bytes, what));
    if (field.number == 2) parse_trainer(field.bytes, model, what);
    if (field.number == 3) parse_normalizer(field.bytes, model, what);
    if (field.number == 5) {
      SentencePieceModel denormalizer;
      parse_normalizer(field.bytes, denormalizer, what);
      if (!denormalizer.character_map.empty()) throw InputError("{}: a denormaliser is not supported", what);
    }
  }
  check_sentencepiece_model(model, what);
  return model;
}

void check_sentencepiece_model(const SentencePieceModel& model, const std::string& what) {
  if (model.pieces.empty()) throw InputError("{}: expected a SentencePiece model, found no pieces", what);
  std::unordered_set<std::string_view> texts;
  int64_t unknown = 0;
  int64_t bytes = 0;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePiece& piece = model.pieces[id];
    if (piece.text.empty() || !is_valid_utf8(piece.text) || piece.text.find('\0') != std::string::npos) {
      throw InputError("{}: piece {} is empty, not UTF-8, or has a zero byte", what, id);
    }
    if (!std::isfinite(piece.score)) throw InputError("{}: piece {} has the score {}", what, id, piece.score);
    if (!texts.insert(piece.text).second)
      throw InputError("{}: the piece \"{}\" occurs twice", what, piece.text);
    if (piece.type == SentencePiece::Type::kUnknown) ++unknown;
    if (piece.type != SentencePiece::Type::kByte) continue;
    if (!is_byte_piece(piece.text)) {
      throw InputError("{}: byte piece {}: expected <0x00> to <0xFF>, found \"{}\"", what, id, piece.text);
    }
    ++bytes;
  }
  if (unknown != 1) throw InputError("{}: expected one unknown piece, found {}", what, unknown);
  if (model.byte_fallback && bytes != 256) {
    throw InputError("{}: expected 256 byte pieces <0x00> to <0xFF>, found {}", what, bytes);
  }
  check_character_map(model.character_map, what);
}

std::string serialize_sentencepiece_model(const SentencePieceModel& model) {
  std::string out;
  for (const SentencePiece& piece : model.pieces) {
    std::string body;
    append_text(body, 1, piece.text);
    append_tag(body, 2, Wire::kFixed32);
    char score[4];
    std::memcpy(score, &piece.score, 4);
    body.append(score, 4);
    append_number(body, 3, static_cast<uint64_t>(piece.type));
    append_text(out, 1, body);
  }
  std::string trainer;
  append_number(trainer, 3, static_cast<uint64_t>(model.kind));
  append_number(trainer, 35, model.byte_fallback ? 1 : 0);
  append_text(trainer, 44, model.unknown_surface);
  append_text(trainer, 45, model.unknown_piece);
  append_text(trainer, 46, model.bos_piece);
  append_text(trainer, 47, model.eos_piece);
  append_text(trainer, 48, model.pad_piece);
  append_text(out, 2, trainer);
  std::string normalizer;
  append_text(normalizer, 1, model.character_map.empty() ? "identity" : "user_defined");
  append_text(normalizer, 2, model.character_map);
  append_number(normalizer, 3, model.add_dummy_prefix ? 1 : 0);
  append_number(normalizer, 4, model.remove_extra_whitespaces ? 1 : 0);
  append_number(normalizer, 5, model.escape_whitespaces ? 1 : 0);
  append_text(out, 3, normalizer);
  return out;
}

}  // namespace ropescope
