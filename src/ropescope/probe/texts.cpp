#include "ropescope/probe/texts.h"

#include <algorithm>
#include <string_view>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

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

std::vector<int64_t> ids_of(const MediaPrompt& prompt) {
  const at::Tensor ids = prompt.input_ids.to(at::kLong).contiguous();
  const auto* first = ids.const_data_ptr<int64_t>();
  return {first, first + ids.numel()};
}

/// A text with pictures, cut as it may be.
TokenizedText pictured_text(const Document& document, TextMedia media, int64_t max_tokens) {
  const int64_t least = media.least_tokens();
  if (least > max_tokens) {
    throw InputError(
        "{}:{}: its pictures reach up to token {}, --max-tokens cuts at {}; raise it, since no picture is cut",
        document.file.string(), document.line, least, max_tokens);
  }
  if (media.prompt.input_ids.size(1) > max_tokens) media.cut_to(max_tokens);
  TokenizedText text{document.name, ids_of(media.prompt)};
  text.media = std::make_shared<const TextMedia>(std::move(media));
  return text;
}

}  // namespace

int64_t TextMedia::least_tokens() const {
  const std::vector<Segment>& segments = prompt.layouts.at(0).segments;
  const int64_t tokens = prompt.input_ids.size(1);
  const bool text_behind = !segments.empty() && segments.back().kind == Segment::Kind::kText;
  return text_behind ? tokens - segments.back().text : tokens;
}

void TextMedia::cut_to(int64_t tokens) {
  const int64_t more = prompt.input_ids.size(1) - tokens;
  if (more <= 0) return;
  if (tokens < least_tokens()) throw InternalError("cut_to: the cut falls into a picture");
  prompt.input_ids = prompt.input_ids.narrow(1, 0, tokens);
  prompt.item_of.resize(static_cast<size_t>(tokens));
  std::vector<Segment>& segments = prompt.layouts.at(0).segments;
  segments.back().text -= more;
  if (segments.back().text == 0) segments.pop_back();
}

std::vector<bool> TokenizedText::visual() const {
  std::vector<bool> visual(ids.size(), false);
  for (size_t t = 0; media != nullptr && t < visual.size(); ++t) visual[t] = media->prompt.item_of[t] >= 0;
  return visual;
}

bool TextSet::has_media() const {
  return std::any_of(texts.begin(), texts.end(),
                     [](const TokenizedText& text) { return text.media != nullptr; });
}

std::vector<int64_t> TextSet::lengths() const {
  std::vector<int64_t> tokens;
  for (const TokenizedText& text : texts) tokens.push_back(static_cast<int64_t>(text.ids.size()));
  return tokens;
}

TextSet load_texts(const std::filesystem::path& corpus, CorpusForm form, const Tokenizer& tokenizer,
                   const TextLimits& limits, const ReadTextMedia& read_media) {
  TextSet set;
  bool warned = false;
  const size_t max_texts = static_cast<size_t>(limits.max_texts);
  const size_t max_tokens = static_cast<size_t>(limits.max_tokens);
  int64_t longest = 0;
  set.files = visit_documents(corpus, form, [&](const Document& document) {
    const auto too_short = [&](size_t tokens) {
      longest = std::max(longest, static_cast<int64_t>(tokens));
      const bool is = tokens == 0 || static_cast<int64_t>(tokens) < limits.min_tokens;
      if (is) ++set.skipped_short;
      return is;
    };
    if (!document.media.is_null() && read_media) {
      TextMedia media = read_media(document);
      if (too_short(static_cast<size_t>(media.prompt.input_ids.size(1)))) return true;
      set.texts.push_back(pictured_text(document, std::move(media), limits.max_tokens));
      return set.texts.size() < max_texts;
    }
    if (!document.media.is_null() && !warned) {
      log_warning("{}:{}: the model sees no pictures: those that the texts name are left out",
                  document.file.string(), document.line);
      warned = true;
    }
    std::vector<int64_t> ids = tokenizer.encode(useful_prefix(document.text, limits.max_tokens), {});
    if (too_short(ids.size())) return true;
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

std::vector<std::vector<int64_t>> pack_texts(const TextSet& set, const std::vector<int64_t>& texts,
                                             int64_t budget) {
  std::vector<std::vector<int64_t>> packs;
  std::vector<int64_t> plain, lengths;  // neighbours without pictures
  const auto flush = [&] {
    for (std::vector<int64_t>& pack : pack_texts(lengths, budget)) {
      for (int64_t& entry : pack) entry = plain[static_cast<size_t>(entry)];
      packs.push_back(std::move(pack));
    }
    plain.clear();
    lengths.clear();
  };
  for (const int64_t number : texts) {
    const TokenizedText& text = set.texts[static_cast<size_t>(number)];
    if (text.media != nullptr) {
      flush();
      packs.push_back({number});
    } else {
      plain.push_back(number);
      lengths.push_back(static_cast<int64_t>(text.ids.size()));
    }
  }
  flush();
  return packs;
}

}  // namespace ropescope
