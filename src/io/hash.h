#pragma once
// xxh3 (64 bits, seed 0): the checksum of every file of ours.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace mara::io {

uint64_t xxh3(const void* data, size_t bytes);

/// The same of data that comes in pieces.
class Xxh3 {
 public:
  Xxh3();
  ~Xxh3();
  void update(const void* data, size_t bytes);
  uint64_t digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// 16 hexadecimal digits.
std::string hash_text(uint64_t hash);

}  // namespace mara::io
