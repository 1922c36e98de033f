#include "ropescope/text/token_decoder.h"

#include "ropescope/text/character_bpe.h"
#include "ropescope/text/utf8.h"

namespace ropescope {

namespace {

using Tokens = std::vector<std::string>;

void flush_bytes(std::string& bytes, Tokens& out) {
  if (is_valid_utf8(bytes)) {
    if (!bytes.empty()) out.push_back(bytes);
  } else {
    out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
  }
  bytes.clear();
}

std::string replace_text(std::string_view text, const std::string& old, std::string_view fresh) {
  std::string out;
  for (size_t at = text.find(old); at != std::string_view::npos; at = text.find(old)) {
    out.append(text.substr(0, at)).append(fresh);
    text.remove_prefix(at + old.size());
  }
  return out.append(text);
}

struct DecoderStepRunner {
  Tokens& tokens;

  void operator()(const ReplaceStep& step) const {
    if (step.pattern == nullptr) {
      for (std::string& token : tokens) token = replace_text(token, step.text, step.content);
      return;
    }
    RegexScratch scratch;
    for (std::string& token : tokens) {
      std::string out;
      if (replace_matches(token, step, scratch, out).any) token = std::move(out);
    }
  }
  void operator()(const ByteFallbackStep&) const {
    Tokens out;
    std::string bytes;
    for (std::string& token : tokens) {
      if (const auto byte = byte_of_token(token)) {
        bytes += static_cast<char>(*byte);
        continue;
      }
      flush_bytes(bytes, out);
      out.push_back(std::move(token));
    }
    flush_bytes(bytes, out);
    tokens = std::move(out);
  }
  void operator()(const FuseStep&) const {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens.clear();
    tokens.push_back(std::move(all));
  }
  void operator()(const StripEndsStep& step) const {
    const size_t length = step.content.size();
    for (std::string& token : tokens) {
      size_t begin = 0;
      for (size_t i = 0; i < step.left && token.compare(begin, length, step.content) == 0; ++i)
        begin += length;
      size_t end = token.size();
      for (size_t i = 0;
           i < step.right && end >= begin + length && token.compare(end - length, length, step.content) == 0;
           ++i) {
        end -= length;
      }
      token = token.substr(begin, end - begin);
    }
  }
  void operator()(const MetaspaceDecodeStep& step) const {
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = replace_text(tokens[i], step.sign, i == 0 && step.drop_first ? "" : " ");
    }
  }
};

}  // namespace

std::string decode_tokens(std::vector<std::string> tokens, const std::vector<DecoderStep>& steps) {
  for (const DecoderStep& step : steps) std::visit(DecoderStepRunner{tokens}, step);
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

}  // namespace ropescope
