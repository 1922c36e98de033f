#include "ropescope/text/normalizer.h"

#include <algorithm>
#include <array>

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>

#include "ropescope/core/errors.h"
#include "ropescope/text/utf8.h"

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

/// What a step makes of a text: false if it leaves it as it is, else the result in `out` (empty before) or, where
/// it only takes something away, in `text`.
class NormalizerStepRunner {
 public:
  NormalizerStepRunner(std::string_view& text, NormalizerScratch& scratch, std::string& out)
      : text_(text), scratch_(scratch), out_(out) {}

  bool operator()(NormalForm form) const {
    if (form == NormalForm::kNfc ? surely_nfc(text_) : is_ascii(text_)) return false;
    const ReferenceNormalizer& normalizer = reference_normalizer(form);
    const icu::StringPiece piece(text_.data(), static_cast<int32_t>(text_.size()));
    if (normalizer.is_normal(piece)) return false;
    out_ = normalizer.normalize(piece);
    return true;
  }
  bool operator()(const ReplaceStep& step) const {
    const Replaced replaced = replace_matches(text_, step, scratch_.regex, out_);
    scratch_.start_lost = scratch_.start_lost || replaced.start_lost;
    return replaced.any;
  }
  bool operator()(const PrependStep& step) const {
    if (text_.empty()) return false;
    out_.append(step.text).append(text_);
    return true;
  }
  bool operator()(const StripStep& step) const {
    const auto is_space = [](std::string_view character) {
      return u_isUWhiteSpace(static_cast<UChar32>(decode_utf8_char(character).code)) != 0;
    };
    while (step.left && !text_.empty() && is_space(text_)) {
      text_.remove_prefix(decode_utf8_char(text_).length);
      scratch_.start_lost = true;
    }
    while (step.right && !text_.empty()) {
      size_t last = text_.size() - 1;
      while (last > 0 && (static_cast<unsigned char>(text_[last]) & 0xC0) == 0x80) --last;
      if (!is_space(text_.substr(last))) break;
      text_ = text_.substr(0, last);
    }
    return false;
  }
  bool operator()(const std::shared_ptr<const CharacterMap>& map) const {
    map->apply(text_, out_);
    return true;
  }

 private:
  std::string_view& text_;
  NormalizerScratch& scratch_;
  std::string& out_;
};

}  // namespace

Replaced replace_matches(std::string_view text, const ReplaceStep& step, RegexScratch& scratch,
                         std::string& out) {
  Replaced result;
  size_t done = 0;
  const auto replace = [&](size_t begin, size_t end) {
    out.append(text.substr(done, begin - done)).append(step.content);
    done = end;
    result.start_lost = result.start_lost || (begin == 0 && end > 0 && step.content.empty());
    result.any = true;
  };
  if (step.pattern == nullptr) {
    for (size_t at = text.find(step.text); at != std::string_view::npos; at = text.find(step.text, done)) {
      replace(at, at + step.text.size());
    }
  } else {
    size_t from = 0;
    size_t begin = 0;
    size_t end = 0;
    // Nothing is found in an empty text, and no empty match right behind another match (as the reference).
    while (!text.empty() && from <= text.size() && step.pattern->find(text, from, scratch, begin, end)) {
      from = end;
      if (begin == end) {
        from = end < text.size() ? end + decode_utf8_char(text.substr(end)).length : end + 1;
        if (result.any && begin == done) continue;
      }
      replace(begin, end);
    }
  }
  if (result.any) out.append(text.substr(done));
  return result;
}

std::string_view normalize(std::string_view text, const std::vector<NormalizerStep>& steps,
                           NormalizerScratch& scratch) {
  scratch.start_lost = false;
  size_t current = 0;
  for (const NormalizerStep& step : steps) {
    // The text may lie in the other one.
    std::string& out = scratch.texts[current];
    out.clear();
    if (!std::visit(NormalizerStepRunner(text, scratch, out), step)) continue;
    text = out;
    current = 1 - current;
  }
  return text;
}

}  // namespace ropescope
