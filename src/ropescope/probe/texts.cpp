#include "ropescope/probe/texts.h"

#include <algorithm>
#include <string_view>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

/// A prefix that surely holds `tokens` tokens, so that a corpus in one huge file is not tokenised whole. It
/// ends before a blank, where no tokenizer merges; 64 bytes a token is far beyond any natural text.
std::string_view useful_prefix(std::string_view text, int64_t tokens) {
  constexpr size_t kLeast = size_t{1} << 20;
  const size_t wanted = std::max(kLeast, static_cast<size_t>(tokens) * 64);
  if (text.size() <= wanted) return text;
  const size_t blank = text.find(' ', wanted);
  return text.substr(0, blank);
}

}  // namespace

std::vector<int64_t> TextSet::lengths() const {
  std::vector<int64_t> tokens;
  for (const TokenizedText& text : texts) tokens.push_back(static_cast<int64_t>(text.ids.size()));
  return tokens;
}

TextSet load_texts(const std::filesystem::path& corpus, CorpusForm form, const Tokenizer& tokenizer,
                   const TextLimits& limits) {
  TextSet set;
  const size_t max_texts = static_cast<size_t>(limits.max_texts);
  const size_t max_tokens = static_cast<size_t>(limits.max_tokens);
  int64_t longest = 0;
  set.files = visit_documents(corpus, form, [&](const Document& document) {
    std::vector<int64_t> ids = tokenizer.encode(useful_prefix(document.text, limits.max_tokens), {});
    longest = std::max(longest, static_cast<int64_t>(ids.size()));
    if (ids.empty() || static_cast<int64_t>(ids.size()) < limits.min_tokens) {
      ++set.skipped_short;
      return true;
    }
    if (ids.size() > max_tokens) ids.resize(max_tokens);
    set.texts.push_back({document.name, std::move(ids)});
    return set.texts.size() < max_texts;
  });
  if (set.texts.empty()) {
    throw InputError(
        "{}: expected a document of at least {} tokens, found {} documents of at most {} (see --min-tokens)",
        corpus.string(), limits.min_tokens, set.skipped_short, longest);
  }
  return set;
}

std::vector<std::vector<int64_t>> pack_texts(const std::vector<int64_t>& lengths, int64_t budget) {
  std::vector<std::vector<int64_t>> packs;
  int64_t filled = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (packs.empty() || filled + lengths[i] > budget) {
      packs.emplace_back();
      filled = 0;
    }
    packs.back().push_back(static_cast<int64_t>(i));
    filled += lengths[i];
  }
  return packs;
}

}  // namespace ropescope
