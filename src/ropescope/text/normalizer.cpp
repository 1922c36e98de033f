#include "ropescope/text/normalizer.h"

#include <algorithm>
#include <array>

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

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

/// Hugging Face's tokenizers normalise by the tables of Unicode 9.0: characters assigned later do not move or
/// combine. Ids must be the ones that a model was trained with.
class ReferenceNormalizer {
 public:
  explicit ReferenceNormalizer(NormalForm form) : whole_(instance(form)), filtered_(whole_, unicode_9()) {}

  bool is_normal(icu::StringPiece text) const {
    UErrorCode error = U_ZERO_ERROR;
    // What is normal by later tables too is normal by these; the unfiltered check is much the faster one.
    return whole_.isNormalizedUTF8(text, error) != 0 && U_SUCCESS(error) != 0;
  }
  std::string normalize(icu::StringPiece text) const {
    std::string result;
    icu::StringByteSink<std::string> sink(&result, text.length());
    UErrorCode error = U_ZERO_ERROR;
    filtered_.normalizeUTF8(0, text, sink, nullptr, error);
    if (U_FAILURE(error) != 0) throw InternalError("ICU: normalisation failed: {}", u_errorName(error));
    return result;
  }

 private:
  static const icu::UnicodeSet& unicode_9() {
    static const icu::UnicodeSet set = [] {
      UErrorCode error = U_ZERO_ERROR;
      icu::UnicodeSet assigned(UNICODE_STRING_SIMPLE("[:Age=9.0:]"), error);
      if (U_FAILURE(error) != 0) throw EnvironmentError("ICU: its character data is missing");
      assigned.freeze();
      return assigned;
    }();
    return set;
  }

  const icu::Normalizer2& whole_;
  icu::FilteredNormalizer2 filtered_;
};

const ReferenceNormalizer& reference_normalizer(NormalForm form) {
  static const std::array<ReferenceNormalizer, 4> all = {
      ReferenceNormalizer(NormalForm::kNfc), ReferenceNormalizer(NormalForm::kNfd),
      ReferenceNormalizer(NormalForm::kNfkc), ReferenceNormalizer(NormalForm::kNfkd)};
  return all[static_cast<size_t>(form)];
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
    const ReferenceNormalizer& normalizer = reference_normalizer(form);
    const icu::StringPiece piece(text.data(), static_cast<int32_t>(text.size()));
    if (normalizer.is_normal(piece)) continue;
    buffer = normalizer.normalize(piece);
    text = buffer;
  }
  return text;
}

}  // namespace ropescope
