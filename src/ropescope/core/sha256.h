// SHA-256 in pieces.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace ropescope {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void add(const void* data, size_t bytes);
  /// Lower-case hexadecimal digest of all that was added; once.
  std::string finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace ropescope
