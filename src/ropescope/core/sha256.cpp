#include "ropescope/core/sha256.h"

#include <array>

#include <openssl/evp.h>

#include "ropescope/core/errors.h"

namespace ropescope {

struct Sha256::Context {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> evp{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  if (!context_->evp || EVP_DigestInit_ex(context_->evp.get(), EVP_sha256(), nullptr) != 1) {
    throw InternalError("SHA-256 is not available in OpenSSL");
  }
}

Sha256::~Sha256() = default;

void Sha256::add(const void* data, size_t bytes) {
  if (EVP_DigestUpdate(context_->evp.get(), data, bytes) != 1) throw InternalError("SHA-256 failed");
}

std::string Sha256::finish() {
  std::array<unsigned char, 32> digest{};
  unsigned int length = 0;
  if (EVP_DigestFinal_ex(context_->evp.get(), digest.data(), &length) != 1)
    throw InternalError("SHA-256 failed");
  std::string text;
  for (const unsigned char byte : digest) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace ropescope
