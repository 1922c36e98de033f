#include "ropescope/text/normalizer.h"

#include <algorithm>

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

const icu::Normalizer2& instance(NormalForm form) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* found = nullptr;
  switch (form) {
    case NormalForm::kNfc:
      found = icu::Normalizer2::getNFCInstance(error);
      break;
    case NormalForm::kNfd:
      found = icu::Normalizer2::getNFDInstance(error);
      break;
    case NormalForm::kNfkc:
      found = icu::Normalizer2::getNFKCInstance(error);
      break;
    case NormalForm::kNfkd:
      found = icu::Normalizer2::getNFKDInstance(error);
      break;
  }
  if (U_FAILURE(error) != 0 || found == nullptr)
    throw EnvironmentError("ICU: its normalisation data is missing");
  return *found;
}

/// Characters below U+0300 are in NFC whatever stands beside them; their lead bytes are below 0xCC.
bool surely_nfc(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0xCC; });
}

bool is_ascii(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
}

}  // namespace

std::string_view normalize(std::string_view text, const std::vector<NormalForm>& forms, std::string& buffer) {
  for (const NormalForm form : forms) {
    if (form == NormalForm::kNfc ? surely_nfc(text) : is_ascii(text)) continue;
    const icu::Normalizer2& normalizer = instance(form);
    UErrorCode error = U_ZERO_ERROR;
    const icu::StringPiece piece(text.data(), static_cast<int32_t>(text.size()));
    if (normalizer.isNormalizedUTF8(piece, error) != 0 && U_SUCCESS(error) != 0) continue;
    std::string result;
    icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(text.size()));
    error = U_ZERO_ERROR;
    normalizer.normalizeUTF8(0, piece, sink, nullptr, error);
    if (U_FAILURE(error) != 0) throw InternalError("ICU: normalisation failed: {}", u_errorName(error));
    buffer = std::move(result);
    text = buffer;
  }
  return text;
}

}  // namespace ropescope
