using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Signatures.Tests.Bundles;

/// <summary>Damaged bundles, as they are and with the archive's checksums and the signature put right again, so that all layers are reached.</summary>
[Trait("Category", "Slow")]
public sealed class BundleMutationTests
{
    [Fact]
    public void A_damaged_bundle_is_refused_or_the_same_and_the_store_stays_whole()
    {
        // In memory: thousands of bundles are installed, and each is flushed to its disk many times.
        using var kit = new BundleKit(Directory.Exists("/dev/shm") ? "/dev/shm" : null);
        kit.Install(kit.Sound(1, "old"));
        string before = kit.Snapshot();
        string old = kit.Store.ActiveId!;
        byte[] sound = kit.Sound(2, "new");
        string id;
        using (var other = new BundleKit())
        {
            other.Store.Trust.Add(kit["publisher.pem"], "acme");
            id = other.Install(sound).Id;
        }

        int accepted = 0;
        int signed = 0;
        for (int i = 0; i < Mutations.PerFormat; i++)
        {
            var random = new Random(i);
            byte[] bytes = (byte[])sound.Clone();
            Mutations.Damage(bytes, i % 2 == 0 ? [] : [(0, 2048)], random, []);
            if (random.Next(32) == 0)
            {
                bytes = bytes[..random.Next(bytes.Length)];
            }

            bool isSignedAgain = i % 3 == 0;
            if (i % 2 == 0)
            {
                Repair(bytes, isSignedAgain ? kit.Sign : null);
            }

            try
            {
                Installed installed = kit.Install(bytes);
                accepted++;
                signed += installed.Id == id ? 0 : 1;
                Assert.True(isSignedAgain || installed.Id == id, $"mutation {i}: another bundle was accepted");
                using (OpenBundle active = kit.Store.OpenActive()!)
                {
                    Assert.Equal(installed.Id, active.Id);
                    Assert.Empty(kit.Store.Verify(active));
                }

                // Back to where it was.
                Directory.Delete(kit["store/bundles/" + installed.Id], recursive: true);
                File.WriteAllText(kit["store/state.json"], File.ReadAllText(kit["store/state.json"]).Replace(installed.Id, old, StringComparison.Ordinal).Replace("\"version\": " + installed.Manifest.Version, "\"version\": 1", StringComparison.Ordinal));
            }
            catch (BundleException e)
            {
                Assert.NotEmpty(e.Message);
                if (i % 16 == 0)
                {
                    Assert.Equal(Rules(before), Rules(kit.Snapshot()));
                }
            }
            catch (Exception e) when (e is not Xunit.Sdk.XunitException)
            {
                Assert.Fail($"mutation {i}: {e}");
            }
        }

        Assert.Equal(Rules(before), Rules(kit.Snapshot()));
        Assert.True(accepted > 100, $"only {accepted} were accepted: the archive's own fields were hardly reached");
        Assert.True(signed > 0, "no damaged manifest with a good signature was reached");
    }

    /// <summary>Without the state, which the test itself puts back by hand.</summary>
    private static string Rules(string snapshot) => string.Join('\n', snapshot.Split('\n').Where(l => !l.StartsWith("state.json", StringComparison.Ordinal)));

    /// <summary>Sums of headers, and where wanted the signature over whatever the manifest is now.</summary>
    private static void Repair(byte[] bytes, Func<byte[], byte[]>? sign)
    {
        for (int at = 0; at + 512 <= bytes.Length;)
        {
            Span<byte> header = bytes.AsSpan(at, 512);
            if (!header.ContainsAnyExcept((byte)0))
            {
                break;
            }

            header.Slice(148, 8).Fill((byte)' ');
            int sum = 0;
            foreach (byte b in header)
            {
                sum += b;
            }

            Encoding.ASCII.GetBytes(Convert.ToString(sum, 8).PadLeft(6, '0') + "\0 ", header.Slice(148, 8));
            long size;
            try
            {
                size = Convert.ToInt64(Encoding.ASCII.GetString(header.Slice(124, 11)).Trim(' ', '\0'), 8);
            }
            catch (Exception e) when (e is FormatException or ArgumentException or OverflowException)
            {
                break;
            }

            if (size < 0 || at + 512 + size > bytes.Length)
            {
                break;
            }

            int next = at + 512 + (int)((size + 511) / 512 * 512);
            if (at == 0 && sign is not null && next + 512 + 72 <= bytes.Length)
            {
                byte[] signature = sign(bytes[512..(512 + (int)size)]);
                Encoding.ASCII.GetBytes(Convert.ToString(signature.Length, 8).PadLeft(11, '0') + "\0", bytes.AsSpan(next + 124));
                bytes.AsSpan(next + 512, 512 > bytes.Length - next - 512 ? bytes.Length - next - 512 : 512).Clear();
                signature.CopyTo(bytes, next + 512);
            }

            at = next;
        }
    }
}
