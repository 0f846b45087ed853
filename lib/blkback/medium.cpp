#include "blkback/medium.hpp"

#include "blkback/file_store.hpp"
#include "blkback/memory_store.hpp"
#include "blkback/volatile_store.hpp"

namespace xenpv::blkback {
namespace {

class memory_disk final : public medium {
 public:
  explicit memory_disk(std::uint64_t size) : bytes_(std::make_shared<memory_medium>(size)) {}

  std::uint64_t size() const override { return bytes_->size(); }
  void resize(std::uint64_t size) override { bytes_->resize(size); }
  std::unique_ptr<store> make_store(asio::any_io_executor) override {
    return std::make_unique<memory_store>(bytes_);
  }

 private:
  std::shared_ptr<memory_medium> bytes_;
};

/// Forwards requests to a store that must outlive this object.
class borrowed_store final : public store {
 public:
  explicit borrowed_store(store& owner) : owner_(owner) {}
  void submit(store_request& request) noexcept override { owner_.submit(request); }

 private:
  store& owner_;
};

class volatile_disk final : public medium {
 public:
  explicit volatile_disk(const disk_plan& plan)
      : bytes_(std::make_shared<memory_medium>(plan.config.size)),
        platter_(bytes_),
        cache_(platter_, plan.config.sector_size) {}

  std::uint64_t size() const override { return bytes_->size(); }
  void resize(std::uint64_t size) override { bytes_->resize(size); }
  std::unique_ptr<store> make_store(asio::any_io_executor) override {
    return std::make_unique<borrowed_store>(cache_);
  }
  bool is_single_threaded() const override { return true; }
  void power_cut(std::uint64_t seed) override { cache_.power_cut(seed); }

 private:
  std::shared_ptr<memory_medium> bytes_;
  memory_store platter_;
  volatile_store cache_;
};

class null_disk final : public medium {
 public:
  explicit null_disk(std::uint64_t size) : size_(size) {}

  std::uint64_t size() const override { return size_; }
  void resize(std::uint64_t size) override { size_ = size; }
  std::unique_ptr<store> make_store(asio::any_io_executor) override {
    return std::make_unique<null_store>();
  }

 private:
  std::uint64_t size_;
};

class file_disk final : public medium {
 public:
  explicit file_disk(const disk_plan& plan)
      : file_(std::make_shared<file_medium>(plan.path, plan.config.read_only)),
        sector_size_(plan.config.sector_size) {}

  std::uint64_t size() const override { return file_->size() / sector_size_ * sector_size_; }
  void resize(std::uint64_t size) override { file_->resize(size); }
  std::unique_ptr<store> make_store(asio::any_io_executor executor) override {
    return std::make_unique<file_store>(file_, std::move(executor));
  }
  std::string physical_device() const override { return file_->device(); }

 private:
  std::shared_ptr<file_medium> file_;
  std::uint32_t sector_size_;
};

}  // namespace

std::shared_ptr<medium> medium::open(const disk_plan& plan) {
  switch (plan.store) {
    case disk_store::memory:
      if (plan.volatile_cache) return std::make_shared<volatile_disk>(plan);
      return std::make_shared<memory_disk>(plan.config.size);
    case disk_store::null:
      return std::make_shared<null_disk>(plan.config.size);
    case disk_store::file:
      break;
  }
  return std::make_shared<file_disk>(plan);
}

}  // namespace xenpv::blkback
