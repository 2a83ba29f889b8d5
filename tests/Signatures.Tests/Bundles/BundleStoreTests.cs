using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Signatures.Tests.Bundles;

public sealed class BundleStoreTests : IDisposable
{
    private readonly BundleKit _kit = new();

    private BundleStore Store => _kit.Store;

    public void Dispose() => _kit.Dispose();

    [Fact]
    public void A_newer_bundle_becomes_active_and_the_one_before_stays_for_roll_back()
    {
        Assert.Null(Store.OpenActive());
        string first = _kit.Install(_kit.Sound(1, "one")).Id;
        string second = _kit.Install(_kit.Sound(2, "two")).Id;
        string third = _kit.Install(_kit.Sound(3, "three")).Id;
        Assert.Equal([third, second], Store.List().Select(b => b.Id));
        Assert.Equal(third, Store.ActiveId);
        using (OpenBundle active = Store.OpenActive()!)
        {
            Assert.Equal(["a.yar", "b.yar"], Directory.GetFiles(active.FolderOf(PartKind.Yara)!, "*", SearchOption.AllDirectories).Select(Path.GetFileName).Order());
            Assert.Single(active.FilesOf(PartKind.Hashes));
            Assert.Null(active.FolderOf(PartKind.ClamAv));
            Assert.Equal("acme", active.Signer!.Name);
        }

        Assert.Equal(second, Store.RollBack().Id);
        Assert.Equal(second, Store.ActiveId);
        Assert.Equal(third, Store.List()[1].Id);

        // Back and forth as often as wanted; the first is gone.
        Assert.Equal(third, Store.RollBack().Id);
        Assert.DoesNotContain(Store.List(), b => b.Id == first);
    }

    [Fact]
    public void An_update_does_not_bring_back_what_was_rolled_back_but_the_operator_may()
    {
        _kit.Install(_kit.Sound(1));
        byte[] bad = _kit.Sound(2, "bad");
        _kit.Install(bad);
        Store.RollBack();
        Assert.Equal(InstallOutcome.RolledBackBefore, _kit.Install(bad, new InstallOptions(IsUpdate: true)).Outcome);
        Assert.Equal(1, Store.List()[0].Manifest!.Version);
        Assert.Equal(InstallOutcome.Activated, _kit.Install(_kit.Sound(3, "good"), new InstallOptions(IsUpdate: true)).Outcome);
        Store.RollBack();
        Assert.Equal(InstallOutcome.Activated, _kit.Install(_kit.Sound(4, "better")).Outcome);
    }

    [Fact]
    public void An_older_version_is_refused_even_after_a_roll_back_and_under_another_active_name()
    {
        byte[] old = _kit.Sound(1, "one");
        _kit.Install(old);
        _kit.Install(_kit.Sound(5, "five"));
        _kit.Refused(old, "older than version 5");
        _kit.Refused(_kit.Sound(4, "four"), "older than version 5");
        _kit.Refused(_kit.Sound(5, "other"), "another bundle with this version");
        Store.RollBack();
        _kit.Refused(_kit.Sound(4, "four"), "older than version 5");
        _kit.Install(_kit.Sound(1, "mine", "local"));
        _kit.Refused(_kit.Sound(4, "four"), "older than version 5");
    }

    [Fact]
    public void An_update_goes_on_with_the_same_name()
    {
        _kit.Install(_kit.Sound(1));
        _kit.Refused(_kit.Sound(9, "x", "other"), "take the place of \"acme\"", new InstallOptions(IsUpdate: true));
        Assert.Equal(InstallOutcome.Activated, _kit.Install(_kit.Sound(9, "x", "other")).Outcome);
    }

    [Fact]
    public void What_the_check_of_the_parts_refuses_leaves_nothing_behind()
    {
        _kit.Install(_kit.Sound(1));
        string before = _kit.Snapshot();
        string file = _kit.Write(_kit.Sound(2, "two"));
        Assert.Throws<BundleException>(() => Store.Install(file, new InstallOptions(), bundle =>
        {
            Assert.True(File.Exists(bundle.FilesOf(PartKind.Yara)[0]));
            throw new BundleException("rule two", "does not compile");
        }));
        Assert.Equal(before, _kit.Snapshot());
        Assert.Empty(Directory.GetFileSystemEntries(_kit["store/incoming"]));
    }

    [Fact]
    public void A_bundle_in_use_outlives_two_changes_and_is_removed_by_the_next()
    {
        _kit.Install(_kit.Sound(1, "one"));
        using (OpenBundle used = Store.OpenActive()!)
        {
            _kit.Install(_kit.Sound(2, "two"));
            _kit.Install(_kit.Sound(3, "three"));
            Assert.Equal(1, used.Manifest.Version);
            Assert.Contains("rule one", File.ReadAllText(used.FilesOf(PartKind.Yara)[0]), StringComparison.Ordinal);
            Assert.Empty(Store.Verify(used));
            Assert.Equal(3, Store.List().Count);
        }

        _kit.Install(_kit.Sound(4, "four"));
        Assert.Equal([4, 3], Store.List().Select(b => (int)b.Manifest!.Version));
    }

    [Fact]
    public void A_bundle_whose_publisher_is_no_longer_trusted_is_not_used()
    {
        _kit.Install(_kit.Sound(1));
        Store.Trust.Remove("acme");
        Assert.Contains("no publisher is trusted", Assert.Throws<BundleException>(() => Store.OpenActive()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_bundle_that_was_changed_on_disk_is_found_out()
    {
        _kit.Install(_kit.Sound(1));
        string folder = Directory.GetDirectories(_kit["store/bundles"]).Single();
        string rule = Path.Combine(folder, "parts/rules/a.yar");
        string sound = File.ReadAllText(rule);
        File.WriteAllText(rule, sound.Replace("false", "true ", StringComparison.Ordinal));
        using (OpenBundle active = Store.OpenActive()!)
        {
            Assert.Contains("rules/a.yar", Assert.Single(Store.Verify(active)), StringComparison.Ordinal);
            File.WriteAllText(Path.Combine(folder, "parts/rules/more.yar"), "rule more { condition: true }");
            Assert.Equal(2, Store.Verify(active).Count);
        }

        // The same bundle again mends it.
        Assert.Equal(InstallOutcome.Activated, _kit.Install(_kit.Sound(1)).Outcome is var first && first == InstallOutcome.AlreadyActive ? InstallOutcome.Activated : first);
        File.AppendAllText(rule, "x");
        Assert.Contains("bytes where the manifest says", Assert.Throws<BundleException>(() => Store.OpenActive()).Message, StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(folder, "manifest.json"), "{}");
        Assert.Throws<BundleException>(() => Store.OpenActive());
    }

    [Fact]
    public void Unsigned_is_taken_only_when_the_operator_says_so_and_shown_as_such()
    {
        byte[] manifest = BundleKit.Manifest(1, BundleKit.SoundParts()).ToJson();
        byte[] unsigned = BundleKit.Tar([(BundleManifest.FileName, manifest), .. BundleKit.SoundParts().Select(p => (p.Path, System.Text.Encoding.UTF8.GetBytes(p.Text)))]);
        _kit.Refused(unsigned, "--unsigned");
        Assert.Null(_kit.Install(unsigned, new InstallOptions(MayBeUnsigned: true)).Signer);
        using OpenBundle active = Store.OpenActive()!;
        Assert.Null(active.Signer);

        // Only this one: nobody smuggles another in by leaving its signature out.
        string stored = Directory.GetDirectories(_kit["store/bundles"]).Single();
        string other = Path.Combine(_kit["store/bundles"], new string('0', 64));
        Directory.CreateDirectory(other);
        File.Copy(Path.Combine(stored, "manifest.json"), Path.Combine(other, "manifest.json"));
        Assert.Contains(Store.List(), b => b.Id == new string('0', 64) && b.Fault.Contains("not signed", StringComparison.Ordinal));
    }

    [Fact]
    public void An_expired_bundle_never_becomes_active_but_an_active_one_stays_usable()
    {
        _kit.Refused(_kit.Sound(1, days: 0), "expired on 2026-06-01 12:00 UTC");
        _kit.Install(_kit.Sound(1, days: 1));
        var later = new BundleStore(_kit["store"], new BundleKit.FixedTime(BundleKit.Now.AddDays(2)));
        using OpenBundle active = later.OpenActive()!;
        Assert.True(active.IsExpired(BundleKit.Now.AddDays(2)));
        Assert.False(active.IsExpired(BundleKit.Now));
        var early = new BundleStore(_kit["store"], new BundleKit.FixedTime(BundleKit.Now.AddDays(-30)));
        Assert.Contains("still to come", Assert.Throws<BundleException>(() => early.Install(_kit.Write(_kit.Sound(2, "two")), new InstallOptions(), _ => { })).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_damaged_state_is_said_and_nothing_is_guessed()
    {
        _kit.Install(_kit.Sound(1));
        foreach (string text in (string[])["", "{", "null", "{\"schema\":\"x\"}", "{\"schema\":\"vmsweep.bundle-store/1\",\"active\":\"../../etc\"}"])
        {
            File.WriteAllText(_kit["store/state.json"], text);
            Assert.Contains("state.json: damaged", Assert.Throws<BundleException>(() => Store.OpenActive()).Message, StringComparison.Ordinal);
        }
    }
}
